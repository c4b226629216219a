-- Whom a token belongs to, in one round trip.
--
-- KEYS  1 tokens  2 records of keys  3 states of keys  4 records of teams
-- ARGV  1 the token's digest
-- Answers nil, or {key, team or '', the token's end in ms or ''}, both records as JSON.

local token = redis.call('HGET', KEYS[1], ARGV[1])
if not token then return nil end
local id, ends = string.match(token, '^(%S+) ?(%d*)$')
local time = redis.call('TIME')
if ends ~= '' and tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) >= tonumber(ends) then return nil end
local team_id = cjson.decode(redis.call('HGET', KEYS[3], id))[4]
local team = team_id ~= '' and redis.call('HGET', KEYS[4], team_id)
return {redis.call('HGET', KEYS[2], id), team or '', ends}
