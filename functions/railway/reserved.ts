/** What a backend with sessions of its own is given; it may stand on the env service like a user's variable. */
export const REDIS_VARIABLE = "PULSE_RAILWAY_REDIS_URL";

/** Set by Railway itself on every service; nobody's mistake. Source: Railway's reference of variables. */
const PROVIDED =
  /^RAILWAY_(?:(?:PUBLIC|PRIVATE)_DOMAIN|STATIC_URL|TCP_PROXY_\w+|TCP_APPLICATION_PORT|(?:PROJECT|ENVIRONMENT|SERVICE)_(?:NAME|ID)|ENVIRONMENT|REPLICA_(?:ID|REGION)|(?:DEPLOYMENT|SNAPSHOT)_ID|VOLUME_(?:NAME|MOUNT_PATH)|SERVICE_\w+_URL|GIT_\w+|BETA_\w+)$/;

const RESERVED = /^(?:PORT|HOST|(?:PULSE|SIGNALBOX|RAILWAY)_.*)$/;

/** A user's variables on the env service, and those that would take the place of what Signalbox or Railway sets. */
export function sortVariables(names: readonly string[]): { users: string[]; reserved: string[] } {
  const own = names.filter((name) => name !== REDIS_VARIABLE && !PROVIDED.test(name)).sort();
  return {
    users: own.filter((name) => !RESERVED.test(name)),
    reserved: own.filter((name) => RESERVED.test(name)),
  };
}
