-- Raise a live hold on every counter or on none: rules.grow, in one atomic step. After sums.lua, standings.lua.
--
-- ARGV  1 request id  2 what it holds  3 least  4 more  5 number of standings  6 of counters
--       then for each standing as standings.lua has it; for each counter: name, cap or ''
-- Answers {'granted', all that it holds now, afford or ''} or {reason, counter}.

local hold_key = root .. 'hold:' .. ARGV[1]
local held, least, more = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- Mirrors rules.grow line by line: by how much it grows and what its caps afford, or nil, the reason and the counter.
local function growth(counters)
  local free, afford, tightest, spent_out
  for _, c in ipairs(counters) do
    if c.cap then
      local sums = call('HMGET', root .. 'sums:' .. c.name, 'spent', 'held')
      local left = c.cap - tonumber(sums[1] or 0)
      if not afford or left < afford or (left == afford and c.name < spent_out) then afford, spent_out = left, c.name end
      left = left - tonumber(sums[2] or 0)
      if not free or left < free or (left == free and c.name < tightest) then free, tightest = left, c.name end
    end
  end
  if not free then return more end
  if afford - held < least then return nil, 'over_budget', spent_out end
  if free < least then return nil, 'held', tightest end
  return math.min(more, free), afford
end

local live = call('HGET', hold_key, 'nanousd')
if not live then return {'gone', ''} end
if live ~= ARGV[2] then -- the answer to this step was lost: it was taken
  call('HSET', hold_key, 'nanousd', live) -- a write, for WAIT and WAITAOF
  return {'granted', live, ''}
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local reason = standing(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if reason then return {reason, ''} end
  at = at + 3
end
local counters = {}
for i = 1, tonumber(ARGV[6]) do
  counters[i] = {name = ARGV[at + 1], cap = tonumber(ARGV[at + 2])}
  at = at + 2
end
local by, afford, name = growth(counters)
if not by then return {afford, name} end
for _, c in ipairs(counters) do
  if not fits(c.name, 'held', by) then return {'held', c.name} end
end
for _, c in ipairs(counters) do call('HINCRBY', root .. 'sums:' .. c.name, 'held', text(by)) end
call('HSET', hold_key, 'nanousd', text(held + by))
return {'granted', text(held + by), afford and text(afford) or ''}
