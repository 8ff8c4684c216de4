/** Access tokens: how whoever isn't the operator calls the control API. */

/** Marks one: its id, which the store finds it by, and its secret. */
export const ACCESS_TOKEN_PREFIX = "sbt_";
export const ACCESS_TOKEN_PATTERN = /^sbt_([0-9a-f]{16})_[0-9a-f]{64}$/;
export const ACCESS_TOKEN_ID_PATTERN = /^[0-9a-f]{16}$/;
/** Whoever forgets one has it forgotten in a year. */
export const ACCESS_TOKEN_LIFE_LIMIT_SECONDS = 366 * 86_400;
export const ACCESS_TOKEN_LIFE_SECONDS = 90 * 86_400;
export const ACCESS_TOKENS_LIMIT = 500;
export const SCOPES_LIMIT = 20;
