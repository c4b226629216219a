-- Hold an amount on every counter of a request and count it on every meter, or on none: rules.grant and
-- rules.meter_refusal, in one atomic step. After sums.lua, standings.lua, meters.lua.
--
-- ARGV  1 request id  2 least  3 usual  4 most  5 whole  6 patient  7 tokens  8 least tokens  9 lease in s
--       10 the journal's line, should the hold end without another word
--       and what is the same for one request after another:
--       11 names of the counters, a JSON list  12 for each its window, start_s and end_s, a JSON list of lists of texts
--       13 since when all of these windows are, in s, or '' where none has an end  14 until when
--       15 '1' where a cap refuses rather than clamps  16 the least limit of the meters of tokens, or ''
--       17 what is taken of the meters, as give_back.lua reads it, for string.format
--       18 '1' where one of the meters comes twice  19 number of standings  20 of counters  21 of `parallel` meters
--       22 of all meters
--       then for each standing as standings.lua has it; for each counter: the key of its sums, cap or ''; for each
--       `parallel` meter its scope; for each meter: key (of a `parallel` one its scope), a letter for its measure (r rpm,
--       t tpm, R rpd, T tpd, p parallel), limit
-- Answers {'granted', amount, afford or nil, tokens, what was taken of the meters, then for each meter used, full in µs}
-- or {reason, name, s, us, retry after s, what a cap that is spent has left}.
--
-- A table or a text costs as much as a look into a hash: where all is as usual there are few.

local SHARE = 8
local least, usual, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local hold_key = root .. 'hold:' .. ARGV[1]

local function refused(reason, name, wait_s, left)
  return {reason, name or '', time[1], time[2], wait_s and format('%.6f', wait_s) or '0', left or 0}
end

local function counter_name(key) return sub(key, #root + 6) end -- behind `sums:`

if call('EXISTS', hold_key, root .. 'settled:' .. ARGV[1]) > 0 then
  local live = call('HMGET', hold_key, 'nanousd', 'tokens', 'meters')
  if live[1] then
    call('HSET', hold_key, 'nanousd', live[1]) -- a write, for WAIT and WAITAOF; the lease stays as it is
    return {'granted', tonumber(live[1]), false, tonumber(live[2]), live[3]}
  end
  return {'granted', 0, false, 0, ''}
end

local at = 22
for _ = 1, ARGV[19] do
  local reason = standing(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if reason then return refused(reason) end
  at = at + 3
end
if ARGV[13] ~= '' and (now < tonumber(ARGV[13]) or now >= tonumber(ARGV[14])) then
  for i, window in ipairs(cjson.decode(ARGV[12])) do
    if window[3] ~= '0.0' and (now < tonumber(window[2]) or now >= tonumber(window[3])) then
      return refused('window', counter_name(ARGV[at + 2 * i - 1]))
    end
  end
end

local counters, most_held, new = at, 0, nil
local free, afford, tightest, spent_out
local strict, alone = ARGV[15] == '1', true
for i = 1, ARGV[20] do
  local key, cap = ARGV[at + 1], ARGV[at + 2]
  local sums = call('HMGET', key, 'spent', 'held', 'listed')
  local held = tonumber(sums[2] or 0)
  if cap ~= '' then
    local left = tonumber(cap) - tonumber(sums[1] or 0)
    if not afford or left < afford or (left == afford and key < spent_out) then afford, spent_out = left, key end
    left = left - held
    if not free or left < free or (left == free and key < tightest) then free, tightest = left, key end
    alone = alone and held == 0
  end
  if held > most_held then most_held = held end
  if not sums[3] then
    new = new or {}
    new[#new + 1] = i
  end
  at = at + 2
end

-- Mirrors rules.grant line by line: the amount, or nil and the reason.
local function grant()
  if not free or most <= 0 then return most end
  if afford < (strict and most or least) or afford <= 0 then return nil, 'over_budget' end
  if free >= most and (strict or ARGV[5] == '1' or (alone and most <= math.floor(free / 2))) then return most end
  local want = strict and most or math.min(most, math.max(usual, math.floor(free / SHARE), 1))
  if free >= want then return want end
  if strict or free < least or free <= 0 or (ARGV[6] == '1' and free < afford) then return nil, 'held' end
  return free
end

local amount, why = grant()
if why == 'over_budget' then return refused(why, counter_name(spent_out), nil, afford) end

local tokens, least_tokens = tonumber(ARGV[7]), tonumber(ARGV[8])
if ARGV[16] ~= '' then tokens = math.min(tokens, tonumber(ARGV[16])) end
local slots, parallel = root .. 'slots', tonumber(ARGV[21])
local running = parallel > 0 and call('HMGET', slots, unpack(ARGV, at + 1, at + parallel))
at = at + parallel

-- Of a meter: how long a bucket is in s, the present one's index, and that as text.
local function bucket_of(letter)
  if letter == 'r' or letter == 't' then return 1, second, time[1] end
  local index = math.floor(now / 1440)
  return 1440, index, text(index)
end

-- The buckets of a meter that still count, by index.
local function counting(key, present)
  local all, found = call('HGETALL', key), {}
  for i = 1, #all, 2 do
    local index = tonumber(all[i])
    if index and index >= present - BUCKETS and all[i + 1] ~= '0' then found[index] = tonumber(all[i + 1]) end
  end
  return found
end

-- A meter's sum, that was put right in bucket `before`, put right for the present one: what no longer counts is let go.
local function turned(key, letter, before, sum)
  local size_s, present, bucket = bucket_of(letter)
  local gone = {}
  if before < present and present - before <= BUCKETS then
    local past = {}
    for index = before - BUCKETS, present - BUCKETS - 1 do past[#past + 1] = text(index) end
    for i, one in ipairs(call('HMGET', key, unpack(past))) do
      if one then sum, gone[#gone + 1] = sum - tonumber(one), past[i] end
    end
  else
    local all = call('HGETALL', key)
    sum = 0
    for i = 1, #all, 2 do
      local index = tonumber(all[i])
      if index and index >= present - BUCKETS then
        sum = sum + tonumber(all[i + 1])
      elseif index then
        gone[#gone + 1] = all[i]
      end
    end
  end
  for from = 1, #gone, 1000 do -- what unpack can take, by far
    call('HDEL', key, unpack(gone, from, math.min(from + 999, #gone)))
  end
  call('HSET', key, 'at', bucket, 'sum', text(sum))
  call('EXPIRE', key, (BUCKETS + 2) * size_s)
  return sum
end

-- In how many seconds a meter has room for what is `excess` now.
local function room_in_s(key, letter, excess)
  local size_s, present = bucket_of(letter)
  local counted, order = counting(key, present), {}
  for index in pairs(counted) do order[#order + 1] = index end
  table.sort(order)
  for _, index in ipairs(order) do
    excess = excess - counted[index]
    if excess <= 0 then return (index + BUCKETS + 1) * size_s - now end
  end
  return BUCKETS * size_s
end

-- Mirrors rules.meter_refusal: why the meters have no room, which, and in how many seconds there is.
local meters, count, slotted = at, tonumber(ARGV[22]), 0
local there, answer = {}, {'granted', amount, afford or false, tokens, ''}
local full, meter, wait_s
for i = 1, count do
  local key, letter, limit = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local of_tokens, room_s, used = letter == 't' or letter == 'T', 0, nil
  local by = of_tokens and tokens or 1
  if limit < by or (of_tokens and limit < least_tokens) then return refused('too_large', meter_name(key, letter), 0) end
  if letter == 'p' then
    slotted = slotted + 1
    used = tonumber(running[slotted] or 0)
    if used + by > limit then room_s = 1 end
  else
    local _, _, bucket = bucket_of(letter)
    local seen = call('HMGET', key, 'at', 'sum', bucket)
    used, there[i] = tonumber(seen[2] or 0), seen[1] and tonumber(seen[3] or 0)
    if seen[1] and seen[1] ~= bucket then used = turned(key, letter, tonumber(seen[1]), used) end
    if used + by > limit then room_s = room_in_s(key, letter, used + by - limit) end
  end
  if room_s > 0 and (not full or room_s > wait_s) then full, meter, wait_s = 'rate', i, room_s end
  answer[4 + 2 * i], answer[5 + 2 * i] = used + by, 0
  at = at + 3
end
if full then return refused(full, meter_name(ARGV[meters + 3 * meter - 2], ARGV[meters + 3 * meter - 1]), wait_s) end
if not amount then return refused(why, counter_name(tightest)) end
if most_held + amount >= MOST_SUM then
  for i = 1, ARGV[20] do
    local key = ARGV[counters + 2 * i - 1]
    if tonumber(call('HGET', key, 'held') or 0) + amount >= MOST_SUM then return refused('held', counter_name(key)) end
  end
end

local held, tokens_text = text(amount), text(tokens)
for i = 1, ARGV[20] do call('HINCRBY', ARGV[counters + 2 * i - 1], 'held', held) end
for _, i in ipairs(new or {}) do
  local window = cjson.decode(ARGV[12])[i]
  begin(counter_name(ARGV[counters + 2 * i - 1]), window[1], window[3])
end

-- In how many µs nothing that a meter has by now will count any more.
local function full_us(key, letter)
  local size_s, present = bucket_of(letter)
  local newest
  for index in pairs(counting(key, present)) do newest = math.max(newest or index, index) end
  return newest and math.floor(((newest + BUCKETS + 1) * size_s - now) * 1e6) or 0
end

local minute_us = math.floor((second + BUCKETS + 1 - now) * 1e6) -- of what counts from now on
local twice, taken, words, running_now = ARGV[18] == '1', {}, 0, {}
at = meters
for i = 1, count do
  local key, letter = ARGV[at + 1], ARGV[at + 2]
  if letter ~= 'p' then
    local size_s, present, bucket = bucket_of(letter)
    local of_tokens = letter == 't' or letter == 'T'
    local by = of_tokens and tokens or 1
    if twice or not there[i] then
      pour(key, size_s, bucket, text(by))
    elseif by > 0 then
      call('HSET', key, bucket, text(there[i] + by), 'sum', text(answer[4 + 2 * i]))
    end
    if by <= 0 then
      answer[5 + 2 * i] = full_us(key, letter)
    else
      answer[5 + 2 * i] = size_s == 1 and minute_us or math.floor(((present + BUCKETS + 1) * size_s - now) * 1e6)
    end
    words = words + 1
    taken[words] = bucket
    if of_tokens then
      words = words + 1
      taken[words] = tokens_text
    end
  elseif twice then
    slot(key, '1')
  else
    running_now[#running_now + 1], running_now[#running_now + 2] = key, text(answer[4 + 2 * i])
  end
  at = at + 3
end
if #running_now > 0 then call('HSET', slots, unpack(running_now)) end
answer[5] = format(ARGV[17], unpack(taken))
call('HSET', hold_key, 'nanousd', held, 'counters', ARGV[11], 'tokens', tokens_text, 'meters', answer[5], 'line', ARGV[10])
call('ZADD', root .. 'leases', format('%.6f', now + tonumber(ARGV[9])), ARGV[1])
return answer
