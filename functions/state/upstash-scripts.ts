import { TOMBSTONE_TTL_MS } from "./store.ts";

/**
 * The Lua that Upstash runs: each script is one command and one atomic step.
 *
 * Versions and JSON go through as strings, because Lua has only doubles and `cjson` turns `[]` into `{}`. Replies
 * hold no nil, since a Lua table ends at the first one. `redis.call` answers `false` for a missing value. A flag is
 * '1' or '0'; what may be missing is '' where it is.
 */

export const RESOLVE = `
local hosts, default_key, named_key = KEYS[1], KEYS[2], KEYS[3]
local host, has_name, app_name, app_prefix = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]

local name = redis.call('HGET', hosts, host)
if not name and has_name and redis.call('EXISTS', named_key) == 1 then name = app_name end
local default = redis.call('GET', default_key)
name = name or default
if not name then return false end
local app = redis.call('HMGET', app_prefix .. name, 'version', 'body')
if not app[1] then return false end
return { name, app[1], app[2], default == name and '1' or '0' }
`;

export const READ_APP = `
local app_key, default_key = KEYS[1], KEYS[2]
local name = ARGV[1]

local app = redis.call('HMGET', app_key, 'version', 'body')
if not app[1] then return false end
return { name, app[1], app[2], redis.call('GET', default_key) == name and '1' or '0' }
`;

/**
 * Hosts follow the last named argument. A script that fails halfway keeps what it wrote, so every refusal comes before
 * the first write.
 */
export const COMMIT = `
local app_key, app_hosts, hosts, default_key, apps = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local work, audit, operation, tombstone = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local name, expected_version, next_version, deletes = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local body, is_default, has_work = ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local audit_app, audit_entry, audit_kept = ARGV[8], ARGV[9], ARGV[10]
local operation_ttl_ms, fingerprint, result = ARGV[11], ARGV[12], ARGV[13]
local first_host = 14

if operation_ttl_ms ~= '' then
  local done = redis.call('HMGET', operation, 'fingerprint', 'result')
  if done[1] then return { 'repeated', done[1], done[2] } end
end
local held = redis.call('HGET', app_key, 'version')
local version = held or redis.call('GET', tombstone) or '0'
if version ~= expected_version or (deletes and not held) then return { 'conflict', version } end
if not deletes then
  for i = first_host, #ARGV do
    local holder = redis.call('HGET', hosts, ARGV[i])
    if holder and holder ~= name then return { 'host_taken', ARGV[i], holder } end
  end
end

for _, host in ipairs(redis.call('SMEMBERS', app_hosts)) do redis.call('HDEL', hosts, host) end
redis.call('DEL', app_hosts)
if deletes then
  redis.call('DEL', app_key)
  redis.call('SET', tombstone, next_version, 'PX', '${TOMBSTONE_TTL_MS}')
  redis.call('ZREM', apps, name)
else
  redis.call('DEL', tombstone)
  redis.call('HSET', app_key, 'version', next_version, 'body', body)
  redis.call('ZADD', apps, '0', name)
  for i = first_host, #ARGV do
    redis.call('HSET', hosts, ARGV[i], name)
    redis.call('SADD', app_hosts, ARGV[i])
  end
end
if is_default and not deletes then
  redis.call('SET', default_key, name)
elseif redis.call('GET', default_key) == name then
  redis.call('DEL', default_key)
end
if has_work and not deletes then
  redis.call('SADD', work, name)
else
  redis.call('SREM', work, name)
end
redis.call('XADD', audit, 'MAXLEN', '~', audit_kept, '*', 'app', audit_app, 'entry', audit_entry)
if operation_ttl_ms ~= '' then
  redis.call('HSET', operation, 'fingerprint', fingerprint, 'result', result)
  redis.call('PEXPIRE', operation, operation_ttl_ms)
end
return { 'committed', deletes and '0' or next_version }
`;

export const WRITE_AUDIT = `
local audit, operation = KEYS[1], KEYS[2]
local audit_app, audit_entry, audit_kept = ARGV[1], ARGV[2], ARGV[3]
local operation_ttl_ms, fingerprint, result = ARGV[4], ARGV[5], ARGV[6]

if operation_ttl_ms ~= '' then
  local done = redis.call('HMGET', operation, 'fingerprint', 'result')
  if done[1] then return { 'repeated', done[1], done[2] } end
end
redis.call('XADD', audit, 'MAXLEN', '~', audit_kept, '*', 'app', audit_app, 'entry', audit_entry)
if operation_ttl_ms ~= '' then
  redis.call('HSET', operation, 'fingerprint', fingerprint, 'result', result)
  redis.call('PEXPIRE', operation, operation_ttl_ms)
end
return { 'recorded' }
`;

/** Answers -1 when acquired, else how many milliseconds it is still held. */
export const ACQUIRE_LEASE = `
local lease = KEYS[1]
local token, ttl_ms = ARGV[1], ARGV[2]

if redis.call('SET', lease, token, 'NX', 'PX', ttl_ms) then return -1 end
if redis.call('GET', lease) == token then
  redis.call('PEXPIRE', lease, ttl_ms)
  return -1
end
return redis.call('PTTL', lease)
`;

export const RENEW_LEASE = `
local lease = KEYS[1]
local token, ttl_ms = ARGV[1], ARGV[2]

if redis.call('GET', lease) ~= token then return 0 end
return redis.call('PEXPIRE', lease, ttl_ms)
`;

export const RELEASE_LEASE = `
local lease = KEYS[1]
local token = ARGV[1]

if redis.call('GET', lease) ~= token then return 0 end
return redis.call('DEL', lease)
`;

export const LIST_RECORDS = `
local ids, bodies = KEYS[1], KEYS[2]
local lower_bound, limit = ARGV[1], ARGV[2]

local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYLEX', ids, lower_bound, '+', 'LIMIT', '0', limit)) do
  rows[#rows + 1] = { id, redis.call('HGET', bodies, id) }
end
return rows
`;

/**
 * The index is three things: `indexed`, the versions that are in it by id; at `tags_prefix` and an id, the set of the
 * record's tags; at `tag_prefix` and a tag, the sorted set of the tag's records.
 */
const UNINDEX = `
local function unindex(indexed, tags_prefix, tag_prefix, id)
  if redis.call('HDEL', indexed, id) == 0 then return end
  local tags = tags_prefix .. id
  for _, tag in ipairs(redis.call('SMEMBERS', tags)) do redis.call('ZREM', tag_prefix .. tag, id) end
  redis.call('DEL', tags)
end
`;

/**
 * Tags follow the last named argument; without any there is no rank either. Answers '' when written, else the version
 * that is newer. Versions are compared as doubles, which are exact up to 2^53.
 */
export const WRITE_RECORD = `${UNINDEX}
local ids, bodies, versions, tombstone, indexed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, body, version = ARGV[1], ARGV[2], ARGV[3]
local tags_prefix, tag_prefix, rank = ARGV[4], ARGV[5], ARGV[6]
local first_tag = 7

if version ~= '' then
  local newest = redis.call('HGET', versions, id) or redis.call('GET', tombstone)
  if newest and tonumber(newest) > tonumber(version) then return newest end
  redis.call('HSET', versions, id, version)
else
  redis.call('HDEL', versions, id)
end
redis.call('DEL', tombstone)
redis.call('ZADD', ids, '0', id)
redis.call('HSET', bodies, id, body)
unindex(indexed, tags_prefix, tag_prefix, id)
if version ~= '' and #ARGV >= first_tag then
  redis.call('HSET', indexed, id, version)
  for i = first_tag, #ARGV do
    redis.call('SADD', tags_prefix .. id, ARGV[i])
    redis.call('ZADD', tag_prefix .. ARGV[i], rank, id)
  end
end
return ''
`;

/** Answers 1 when there was one, else 0. */
export const DELETE_RECORD = `${UNINDEX}
local ids, bodies, versions, tombstone, indexed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, version, tombstone_ttl_ms, tags_prefix, tag_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

if version ~= '' then
  local newest = redis.call('HGET', versions, id) or redis.call('GET', tombstone)
  if newest and tonumber(newest) > tonumber(version) then return 0 end
  redis.call('SET', tombstone, version, 'PX', tombstone_ttl_ms)
end
unindex(indexed, tags_prefix, tag_prefix, id)
redis.call('ZREM', ids, id)
redis.call('HDEL', versions, id)
return redis.call('HDEL', bodies, id)
`;

/**
 * The sorted sets of the wanted tags follow the last named key.
 *
 * A build from before the index writes and deletes records without it. What it has touched shows by its version, and
 * leaves the index here, so that it is in the way once.
 */
export const FIND_RECORDS = `${UNINDEX}
local bodies, versions, indexed = KEYS[1], KEYS[2], KEYS[3]
local first_tag = 4
local limit, examined, tags_prefix, tag_prefix = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]

local rarest = KEYS[first_tag]
for i = first_tag + 1, #KEYS do
  if redis.call('ZCARD', KEYS[i]) < redis.call('ZCARD', rarest) then rarest = KEYS[i] end
end
local rows, outdated, from = {}, {}, 0
while #rows < limit and from < examined do
  local found = redis.call('ZRANGE', rarest, from, math.min(from + 100, examined) - 1)
  if #found == 0 then break end
  from = from + #found
  for _, id in ipairs(found) do
    local fits = #rows < limit
    for i = first_tag, #KEYS do fits = fits and redis.call('ZSCORE', KEYS[i], id) end
    if fits then
      local version = redis.call('HGET', versions, id)
      if version and version == redis.call('HGET', indexed, id) then
        rows[#rows + 1] = { id, redis.call('HGET', bodies, id) }
      else
        outdated[#outdated + 1] = id
      end
    end
  end
end
for _, id in ipairs(outdated) do unindex(indexed, tags_prefix, tag_prefix, id) end
return rows
`;

/**
 * One stream for all apps, filtered here: a stream per app would multiply what is kept by the number of apps and
 * outlive deleted ones, and reading the audit of one app is rare. The scan is bounded by the entries kept.
 */
export const LIST_AUDIT = `
local audit = KEYS[1]
local newest, limit, of_one_app, app = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4]

local rows = {}
while #rows < limit do
  local page = redis.call('XREVRANGE', audit, newest, '-', 'COUNT', '500')
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    local id, fields = entry[1], entry[2]
    local entry_app, entry_text = fields[2], fields[4]
    if #rows < limit and (not of_one_app or entry_app == app) then rows[#rows + 1] = { id, entry_text } end
  end
  newest = '(' .. page[#page][1]
end
return rows
`;
