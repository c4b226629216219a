-- Hold an amount on every counter of a request and count it on every meter, or on none: rules.grant and
-- rules.meter_refusal, in one atomic step. After sums.lua, standings.lua, meters.lua.
--
-- ARGV  1 request id  2 least  3 usual  4 most  5 whole  6 patient  7 tokens  8 least tokens  9 lease in s
--       10 the journal's line, should the hold end without another word  11 names of the counters, a JSON list
--       12 number of standings  13 of counters  14 of meters
--       then for each standing: kind, id, version; for each counter: name, window, start_s, end_s, cap or '', on_cap;
--       for each meter: scope, measure, limit
-- Answers {'granted', amount, afford or nil, tokens, what was taken of the meters, then for each meter used, full in µs}
-- or {reason, name, s, us, retry after s}.

local SHARE = 8
local least, usual, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local whole, patient = ARGV[5] == '1', ARGV[6] == '1'
local hold_key = root .. 'hold:' .. ARGV[1]

local function refused(reason, name, wait_s)
  return {reason, name or '', time[1], time[2], wait_s and string.format('%.6f', wait_s) or '0'}
end

-- Mirrors rules.grant line by line: the amount and what its caps afford, or nil, the reason and the counter.
local function grant(counters)
  local free, afford, tightest, spent_out
  local strict, alone = false, true
  for _, c in ipairs(counters) do
    if c.cap then
      local left = c.cap - c.spent
      if not afford or left < afford or (left == afford and c.name < spent_out) then afford, spent_out = left, c.name end
      left = left - c.held
      if not free or left < free or (left == free and c.name < tightest) then free, tightest = left, c.name end
      strict, alone = strict or c.on_cap == 'refuse', alone and c.held == 0
    end
  end
  if not free or most <= 0 then return most, afford end
  if afford < (strict and most or least) or afford <= 0 then return nil, 'over_budget', spent_out end
  if free >= most and (strict or whole or (alone and most <= math.floor(free / 2))) then return most, afford end
  local want = strict and most or math.min(most, math.max(usual, math.floor(free / SHARE), 1))
  if free >= want then return want, afford end
  if strict or free < least or free <= 0 or (patient and free < afford) then return nil, 'held', tightest end
  return free, afford
end

-- Mirrors rules.meter_refusal: nil, or the reason, the meter and in how many seconds there is room.
local function meter_refusal(meters, tokens)
  local reason, name, wait_s
  for _, m in ipairs(meters) do
    if m.limit < m.amount or (m.of_tokens and m.limit < tonumber(ARGV[8])) then return 'too_large', m.name, 0 end
    local room_s
    if m.measure == 'parallel' then
      room_s = m.used + m.amount > m.limit and 1 or 0
    else
      room_s = room_in_s(m, m.amount)
    end
    if room_s > 0 and (not reason or room_s > wait_s) then reason, name, wait_s = 'rate', m.name, room_s end
  end
  return reason, name, wait_s
end

-- Takes of every meter; what, and after how full they are.
local function take(meters)
  local taken, levels = {}, {}
  for i, m in ipairs(meters) do
    local full_s = 0
    if m.measure == 'parallel' then
      slot(m.scope, '1')
    else
      if m.new or m.again then
        pour(m.key, m.measure, text(m.bucket), text(m.amount))
      elseif m.amount > 0 then
        redis.call('HSET', m.key, text(m.bucket), text(m.there + m.amount), 'sum', text(m.used + m.amount))
      end
      local newest = m.amount > 0 and m.bucket
      if not newest then
        for index in pairs(counting(m.key, m.bucket)) do newest = math.max(newest or index, index) end
      end
      if newest then full_s = leaves_s(newest, m.measure) end
    end
    taken[i] = {m.scope, m.measure, m.bucket and text(m.bucket) or '', text(m.amount)}
    levels[2 * i - 1], levels[2 * i] = m.used + m.amount, math.floor(full_s * 1e6)
  end
  return #taken > 0 and cjson.encode(taken) or '', levels
end

local live = redis.call('HMGET', hold_key, 'nanousd', 'tokens', 'meters')
if live[1] then return {'granted', tonumber(live[1]), false, tonumber(live[2]), live[3]} end
if redis.call('EXISTS', root .. 'settled:' .. ARGV[1]) == 1 then return {'granted', 0, false, 0, ''} end

local at = 14
for _ = 1, tonumber(ARGV[12]) do
  local reason = standing(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if reason then return refused(reason) end
  at = at + 3
end
local counters = {}
for i = 1, tonumber(ARGV[13]) do
  local name, ends = ARGV[at + 1], ARGV[at + 4]
  if ends ~= '0.0' and (now < tonumber(ARGV[at + 3]) or now >= tonumber(ends)) then return refused('window', name) end
  counters[i] = {
    name = name, window = ARGV[at + 2], ends = ends, cap = tonumber(ARGV[at + 5]), on_cap = ARGV[at + 6],
    sums = root .. 'sums:' .. name,
  }
  at = at + 6
end
for _, c in ipairs(counters) do
  local sums = redis.call('HMGET', c.sums, 'spent', 'held', 'listed')
  c.new = not sums[3]
  c.spent, c.held = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
end

local amount, afford, name = grant(counters)
if not amount and afford == 'over_budget' then return refused(afford, name) end

local meters, named, tokens = {}, {}, tonumber(ARGV[7])
for i = 1, tonumber(ARGV[14]) do
  local measure = ARGV[at + 2]
  local m = {scope = ARGV[at + 1], measure = measure, limit = tonumber(ARGV[at + 3])}
  m.name, m.of_tokens = m.scope .. '|' .. measure, measure == 'tpm' or measure == 'tpd'
  if m.of_tokens then tokens = math.min(tokens, m.limit) end
  m.again, named[m.name] = named[m.name], true
  meters[i] = m
  at = at + 3
end
for _, m in ipairs(meters) do
  m.amount = m.of_tokens and tokens or 1
  fill(m)
end
local full, meter, wait_s = meter_refusal(meters, tokens)
if full then return refused(full, meter, wait_s) end
if not amount then return refused(afford, name) end
for _, c in ipairs(counters) do
  if c.held + amount >= MOST_SUM then return refused('held', c.name) end
end

local held = text(amount)
for _, c in ipairs(counters) do
  redis.call('HINCRBY', c.sums, 'held', held)
  if c.new then begin(c.name, c.window, c.ends) end
end
local taken, levels = take(meters)
redis.call('HSET', hold_key,
  'nanousd', held, 'counters', ARGV[11], 'tokens', text(tokens), 'meters', taken, 'line', ARGV[10])
redis.call('ZADD', root .. 'leases', string.format('%.6f', now + tonumber(ARGV[9])), ARGV[1])
return {'granted', amount, afford or false, tokens, taken, unpack(levels)}
