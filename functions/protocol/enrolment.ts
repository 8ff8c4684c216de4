/** How a runner gets a secret of its own. See PROTOCOL.md, section 1. */

/** Marks a runner's own secret. */
export const CREDENTIAL_PREFIX = "sbr_";
export const CREDENTIAL_BYTES = 32;
export const CREDENTIAL_PATTERN = /^sbr_[0-9a-f]{64}$/;

/** Of a runner that comes with the shared secret: the secret that it has made for itself and wants to come with. */
export const CREDENTIAL_HEADER = "x-signalbox-credential";
/** Of the hub's answer: the secret is the runner's own, and the shared one no longer opens its id. */
export const ENROLLED_HEADER = "x-signalbox-enrolled";
/** Its value when that has just come about. */
export const FIRST_TIME = "now";
