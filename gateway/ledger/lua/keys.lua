-- Create, replace or rotate a key or team, in one atomic step.
--
-- KEYS  1 records  2 states  3 ids  4 aliases  (all of one kind)  5 tokens  6 digests of each key
-- ARGV  1 create, replace or rotate  2 id  3 the record, JSON  4 version  5 revoked, 1 or 0  6 expires or ''  7 team id or ''
--       8 alias or ''  9 the token's digest or ''  10 grace of the older tokens in ms
--       11 '1' where a revoked record is as good as none
-- A state is the JSON list [version, revoked, expires, team id, alias], all text; a token is `<key id>` or `<key id> <its end, ms>`.
-- Answers 'done', or what is in the way: id, version, alias, digest; or the version of the revoked record whose place
-- there is to take.

local id, version, revoked, alias, digest = ARGV[2], ARGV[4], ARGV[5], ARGV[8], ARGV[9]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local state = redis.call('HGET', KEYS[2], id)
state = state and cjson.decode(state)
if state and state[1] == version and redis.call('HGET', KEYS[1], id) == ARGV[3] then
  redis.call('HSET', KEYS[1], id, ARGV[3]) -- the answer to this was lost: a write, for WAIT and WAITAOF
  return 'done'
end
if ARGV[1] == 'create' then
  if state and (state[2] == '0' or ARGV[11] == '0') then return 'id' end
  if state and tonumber(state[1]) ~= tonumber(version) - 1 then return state[1] end
else
  if not state or tonumber(state[1]) ~= tonumber(version) - 1 then return 'version' end
  if ARGV[1] == 'rotate' and state[2] == '1' then return 'version' end
end
local owner = alias ~= '' and redis.call('HGET', KEYS[4], alias)
if revoked == '0' and owner and owner ~= id then return 'alias' end
if digest ~= '' and redis.call('HEXISTS', KEYS[5], digest) == 1 then return 'digest' end

if state and state[5] ~= '' and redis.call('HGET', KEYS[4], state[5]) == id then redis.call('HDEL', KEYS[4], state[5]) end
if alias ~= '' and revoked == '0' then redis.call('HSET', KEYS[4], alias, id) end
redis.call('HSET', KEYS[1], id, ARGV[3])
redis.call('HSET', KEYS[2], id, cjson.encode({version, revoked, ARGV[6], ARGV[7], alias}))
redis.call('ZADD', KEYS[3], '0', id)

if digest ~= '' then
  local kept = {digest}
  local older = redis.call('HGET', KEYS[6], id)
  for _, one in ipairs(older and cjson.decode(older) or {}) do
    local ends = now_ms + tonumber(ARGV[10])
    local before = tonumber(string.match(redis.call('HGET', KEYS[5], one), ' (%d+)$'))
    if before and before < ends then ends = before end
    if ends > now_ms then
      redis.call('HSET', KEYS[5], one, id .. ' ' .. string.format('%.0f', ends))
      kept[#kept + 1] = one
    else
      redis.call('HDEL', KEYS[5], one)
    end
  end
  redis.call('HSET', KEYS[5], digest, id)
  redis.call('HSET', KEYS[6], id, cjson.encode(kept))
end
return 'done'
