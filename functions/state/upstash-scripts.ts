import { TOMBSTONE_TTL_MS } from "./store.ts";

/**
 * The Lua that Upstash runs: each script is one command and one atomic step.
 *
 * Versions and JSON go through as strings, because Lua has only doubles and `cjson` turns `[]` into `{}`. Replies
 * hold no nil, since a Lua table ends at the first one. `redis.call` answers `false` for a missing value.
 */

/** KEYS: hosts, default, app called appName. ARGV: host, whether there is an appName, appName, prefix of app keys. */
export const RESOLVE = `
local name = redis.call('HGET', KEYS[1], ARGV[1])
if not name and ARGV[2] == '1' and redis.call('EXISTS', KEYS[3]) == 1 then
  name = ARGV[3]
end
local default = redis.call('GET', KEYS[2])
name = name or default
if not name then return false end
local app = redis.call('HMGET', ARGV[4] .. name, 'version', 'body')
if not app[1] then return false end
return { name, app[1], app[2], default == name and '1' or '0' }
`;

/** KEYS: app, default. ARGV: name. */
export const READ_APP = `
local app = redis.call('HMGET', KEYS[1], 'version', 'body')
if not app[1] then return false end
return { ARGV[1], app[1], app[2], redis.call('GET', KEYS[2]) == ARGV[1] and '1' or '0' }
`;

/**
 * KEYS: app, hosts of the app, hosts, default, apps, work, audit, operation, tombstone.
 * ARGV: name, expected version, next version, whether to delete, body, is default, has work, audit's app,
 * audit entry, audit entries kept, operation's time to live in ms ('' for none), fingerprint, result, hosts...
 *
 * A script that fails halfway keeps what it wrote, so every refusal comes before the first write.
 */
export const COMMIT = `
local name, deleted = ARGV[1], ARGV[4] == '1'
if ARGV[11] ~= '' then
  local done = redis.call('HMGET', KEYS[8], 'fingerprint', 'result')
  if done[1] then return { 'repeated', done[1], done[2] } end
end
local held = redis.call('HGET', KEYS[1], 'version')
local version = held or redis.call('GET', KEYS[9]) or '0'
if version ~= ARGV[2] or (deleted and not held) then return { 'conflict', version } end
if not deleted then
  for i = 14, #ARGV do
    local holder = redis.call('HGET', KEYS[3], ARGV[i])
    if holder and holder ~= name then return { 'host_taken', ARGV[i], holder } end
  end
end

for _, host in ipairs(redis.call('SMEMBERS', KEYS[2])) do redis.call('HDEL', KEYS[3], host) end
redis.call('DEL', KEYS[2])
if deleted then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[9], ARGV[3], 'PX', '${TOMBSTONE_TTL_MS}')
  redis.call('ZREM', KEYS[5], name)
else
  redis.call('DEL', KEYS[9])
  redis.call('HSET', KEYS[1], 'version', ARGV[3], 'body', ARGV[5])
  redis.call('ZADD', KEYS[5], '0', name)
  for i = 14, #ARGV do
    redis.call('HSET', KEYS[3], ARGV[i], name)
    redis.call('SADD', KEYS[2], ARGV[i])
  end
end
if ARGV[6] == '1' and not deleted then
  redis.call('SET', KEYS[4], name)
elseif redis.call('GET', KEYS[4]) == name then
  redis.call('DEL', KEYS[4])
end
if ARGV[7] == '1' and not deleted then
  redis.call('SADD', KEYS[6], name)
else
  redis.call('SREM', KEYS[6], name)
end
redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[10], '*', 'app', ARGV[8], 'entry', ARGV[9])
if ARGV[11] ~= '' then
  redis.call('HSET', KEYS[8], 'fingerprint', ARGV[12], 'result', ARGV[13])
  redis.call('PEXPIRE', KEYS[8], ARGV[11])
end
return { 'committed', deleted and '0' or ARGV[3] }
`;

/**
 * KEYS: audit, operation. ARGV: audit's app, audit entry, audit entries kept, operation's time to live in ms ('' for
 * none), fingerprint, result.
 */
export const RECORD_OPERATION = `
if ARGV[4] ~= '' then
  local done = redis.call('HMGET', KEYS[2], 'fingerprint', 'result')
  if done[1] then return { 'repeated', done[1], done[2] } end
end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'app', ARGV[1], 'entry', ARGV[2])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], 'fingerprint', ARGV[5], 'result', ARGV[6])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return { 'recorded' }
`;

/** KEYS: lease. ARGV: token, time to live in ms. Answers -1 when acquired, else how long it is still held. */
export const ACQUIRE_LEASE = `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return -1 end
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return -1
end
return redis.call('PTTL', KEYS[1])
`;

/** KEYS: lease. ARGV: token, time to live in ms. */
export const RENEW_LEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`;

/** KEYS: lease. ARGV: token. */
export const RELEASE_LEASE = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`;

/** KEYS: ids, bodies. ARGV: lower bound, limit. */
export const LIST_RECORDS = `
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', '0', ARGV[2])) do
  rows[#rows + 1] = { id, redis.call('HGET', KEYS[2], id) }
end
return rows
`;

/** Of the index: versions that are in it by id, prefix of the sets of a record's tags, prefix of the tags' own sets. */
const UNINDEX = `
local function unindex(indexed, tags, tagged, id)
  if redis.call('HDEL', indexed, id) == 0 then return end
  for _, tag in ipairs(redis.call('SMEMBERS', tags .. id)) do redis.call('ZREM', tagged .. tag, id) end
  redis.call('DEL', tags .. id)
end
`;

/**
 * KEYS: ids, bodies, versions, tombstone, versions in the index. ARGV: id, body, version ('' for none), prefix of the
 * sets of a record's tags, prefix of the tags' own sets, rank, tags... Answers '' when written, else the version that is
 * newer. Versions are compared as doubles, which are exact up to 2^53.
 */
export const WRITE_RECORD = `${UNINDEX}
if ARGV[3] ~= '' then
  local newest = redis.call('HGET', KEYS[3], ARGV[1]) or redis.call('GET', KEYS[4])
  if newest and tonumber(newest) > tonumber(ARGV[3]) then return newest end
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
else
  redis.call('HDEL', KEYS[3], ARGV[1])
end
redis.call('DEL', KEYS[4])
redis.call('ZADD', KEYS[1], '0', ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
unindex(KEYS[5], ARGV[4], ARGV[5], ARGV[1])
if ARGV[3] ~= '' and #ARGV > 6 then
  redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
  for i = 7, #ARGV do
    redis.call('SADD', ARGV[4] .. ARGV[1], ARGV[i])
    redis.call('ZADD', ARGV[5] .. ARGV[i], ARGV[6], ARGV[1])
  end
end
return ''
`;

/**
 * KEYS: ids, bodies, versions, tombstone, versions in the index. ARGV: id, version ('' for none), how long to remember
 * it in ms, prefix of the sets of a record's tags, prefix of the tags' own sets.
 */
export const DELETE_RECORD = `${UNINDEX}
if ARGV[2] ~= '' then
  local newest = redis.call('HGET', KEYS[3], ARGV[1]) or redis.call('GET', KEYS[4])
  if newest and tonumber(newest) > tonumber(ARGV[2]) then return 0 end
  redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3])
end
unindex(KEYS[5], ARGV[4], ARGV[5], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
`;

/**
 * KEYS: bodies, versions, versions in the index, sets of the wanted tags... ARGV: limit, how many to look at, prefix of
 * the sets of a record's tags, prefix of the tags' own sets.
 *
 * A build from before the index writes and deletes records without it. What it has touched shows by its version, and
 * leaves the index here, so that it is in the way once.
 */
export const FIND_RECORDS = `${UNINDEX}
local rarest = KEYS[4]
for i = 5, #KEYS do
  if redis.call('ZCARD', KEYS[i]) < redis.call('ZCARD', rarest) then rarest = KEYS[i] end
end
local rows, outdated, from = {}, {}, 0
local limit, examined = tonumber(ARGV[1]), tonumber(ARGV[2])
while #rows < limit and from < examined do
  local ids = redis.call('ZRANGE', rarest, from, math.min(from + 100, examined) - 1)
  if #ids == 0 then break end
  from = from + #ids
  for _, id in ipairs(ids) do
    local fits = #rows < limit
    for i = 4, #KEYS do fits = fits and redis.call('ZSCORE', KEYS[i], id) end
    if fits then
      local version = redis.call('HGET', KEYS[2], id)
      if version and version == redis.call('HGET', KEYS[3], id) then
        rows[#rows + 1] = { id, redis.call('HGET', KEYS[1], id) }
      else
        outdated[#outdated + 1] = id
      end
    end
  end
end
for _, id in ipairs(outdated) do unindex(KEYS[3], ARGV[3], ARGV[4], id) end
return rows
`;

/**
 * KEYS: audit. ARGV: newest id to look at, limit, whether to filter, app.
 *
 * One stream for all apps, filtered here: a stream per app would multiply what is kept by the number of apps and
 * outlive deleted ones, and reading the audit of one app is rare. The scan is bounded by the entries kept.
 */
export const LIST_AUDIT = `
local rows, newest, limit = {}, ARGV[1], tonumber(ARGV[2])
while #rows < limit do
  local page = redis.call('XREVRANGE', KEYS[1], newest, '-', 'COUNT', '500')
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    if #rows < limit and (ARGV[3] == '0' or entry[2][2] == ARGV[4]) then
      rows[#rows + 1] = { entry[1], entry[2][4] }
    end
  end
  newest = '(' .. page[#page][1]
end
return rows
`;
