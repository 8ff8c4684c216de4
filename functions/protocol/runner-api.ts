/** The runner itself, as a service of its tunnel: what the Worker asks of it goes there. */
export const RUNNER_SERVICE = "@runner";
