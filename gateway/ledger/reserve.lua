-- Hold an amount on every counter of a request, or on none: store.grant over the balances, in one atomic step.
--
-- KEYS  1 the hold  2 the mark of a settled request  3 the index of live holds  4 states of keys  5 states of teams
--       then for each counter: its sums, and its scope's index of windows
-- ARGV  1 request id  2 key id  3 key version  4 team id or ''  5 team version  6 least  7 usual  8 most  9 whole  10 patient
--       11 names of the counters, a JSON list  12 seconds that a counter outlives its window
--       then for each counter: name, window, start_s, end_s, cap or '', on_cap
-- Amounts are nano-USD below 2^53, where a Lua number counts exactly; as text they are written with %.0f, never by tostring.
-- Answers {'granted', amount} or {reason, counter, s, us}.

local SHARE = 8
local COUNTERS = (#KEYS - 5) / 2
local least, usual, most = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local whole, patient = ARGV[9] == '1', ARGV[10] == '1'
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function counter(i)
  local at = 12 + (i - 1) * 6
  return {
    name = ARGV[at + 1], window = ARGV[at + 2], start_s = tonumber(ARGV[at + 3]), end_s = tonumber(ARGV[at + 4]),
    past = ARGV[at + 4], cap = tonumber(ARGV[at + 5]), on_cap = ARGV[at + 6], sums = KEYS[4 + 2 * i], windows = KEYS[5 + 2 * i],
  }
end

local function refused(reason, name)
  return {reason, name or '', time[1], time[2]}
end

-- A state is the JSON list [version, revoked, expires, team id, alias], all text.
local function standing(states, id, version)
  local state = redis.call('HGET', states, id)
  if not state then return 'gone' end
  state = cjson.decode(state)
  if state[2] == '1' or (state[3] ~= '' and now >= tonumber(state[3])) then return 'gone' end
  if state[1] ~= version then return 'stale' end
end

-- Mirrors store.grant line by line: the amount, or nil, the reason and the counter.
local function grant(counters)
  local free, afford, tightest, spent_out
  local strict = false
  for _, c in ipairs(counters) do
    if c.cap then
      local left = c.cap - c.spent
      if not afford or left < afford or (left == afford and c.name < spent_out) then afford, spent_out = left, c.name end
      left = left - c.held
      if not free or left < free or (left == free and c.name < tightest) then free, tightest = left, c.name end
      strict = strict or c.on_cap == 'refuse'
    end
  end
  if not free or most <= 0 then return most end
  if afford < (strict and most or least) or afford <= 0 then return nil, 'over_budget', spent_out end
  if free >= most and (strict or whole) then return most end
  local want = strict and most or math.min(most, math.max(usual, math.floor(free / SHARE)))
  if free >= want then return want end
  if strict or free < least or free <= 0 or (patient and free < afford) then return nil, 'held', tightest end
  return free
end

local live = redis.call('HGET', KEYS[1], 'nanousd')
if live then return {'granted', live} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'granted', '0'} end

local reason = standing(KEYS[4], ARGV[2], ARGV[3])
if not reason and ARGV[4] ~= '' then reason = standing(KEYS[5], ARGV[4], ARGV[5]) end
if reason then return refused(reason) end

local counters = {}
for i = 1, COUNTERS do
  local c = counter(i)
  if c.end_s > 0 and (now < c.start_s or now >= c.end_s) then return refused('window', c.name) end
  counters[i] = c
end
for _, c in ipairs(counters) do
  local sums = redis.call('HMGET', c.sums, 'spent', 'held')
  c.new = not sums[1]
  c.spent, c.held = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
end

local amount, refusal, name = grant(counters)
if not amount then return refused(refusal, name) end
amount = string.format('%.0f', amount)
for _, c in ipairs(counters) do
  redis.call('HINCRBY', c.sums, 'held', amount)
  if c.new then
    redis.call('HINCRBY', c.sums, 'spent', '0')
    if c.end_s > 0 then redis.call('EXPIREAT', c.sums, string.format('%.0f', c.end_s + tonumber(ARGV[12]))) end
    redis.call('ZADD', c.windows, c.end_s > 0 and c.past or '+inf', c.window)
    redis.call('ZREMRANGEBYSCORE', c.windows, '-inf', string.format('%.0f', now - tonumber(ARGV[12])))
  end
end
redis.call('HSET', KEYS[1], 'nanousd', amount, 'counters', ARGV[11])
redis.call('ZADD', KEYS[3], string.format('%.0f', now), ARGV[1])
return {'granted', amount}
