-- What every script of money begins with: the clock, the names of keys, sums that come into being.
--
-- KEYS[1] is the root of all names, and as a key it never exists: a cluster that is moving our slot elsewhere thus turns
-- a script away before its first step, and never in the middle (TRYAGAIN, ASK).
-- Amounts are nano-USD below 2^53, where a Lua number counts exactly; as text they are written by `text`, never by tostring.

local KEPT_S = 7776000 -- 90 days: how long a counter stays after its window's end
local SETTLED_S = 604800 -- 7 days: how long a second settle is known for one
local call, format, sub = redis.call, string.format, string.sub -- a local is found at once
local root = KEYS[1]
local time = call('TIME')
local second = tonumber(time[1])
local now = second + tonumber(time[2]) / 1000000

-- %d is a third of what %.0f costs, and counts in C's long (LUA_INTFRM_T of luaconf.h): 32 bits on some servers.
local function text(number) return format(number < 2 ^ 31 and number > -2 ^ 31 and '%d' or '%.0f', number) end

local function less(amount) return amount == '0' and '0' or '-' .. amount end -- HINCRBY does not take -0

-- Whether a sum can take `by` more: HINCRBY fails past 2^63, and what it has done by then a script cannot take back. Small
-- amounts do not get there.
local SMALL, MOST_SUM = 2 ^ 40, 2 ^ 62
local function fits(name, field, by)
  return by < SMALL or tonumber(call('HGET', root .. 'sums:' .. name, field) or 0) + by < MOST_SUM
end

-- A sum that has just come into being: found by its scope, and by who asks for all of them; some time after its window's
-- end it goes (at once, where that is long past).
local function begin(name, window, end_s)
  local ends, goes = tonumber(end_s), '+inf'
  call('HINCRBY', root .. 'sums:' .. name, 'spent', '0')
  call('HINCRBY', root .. 'sums:' .. name, 'held', '0')
  call('HSET', root .. 'sums:' .. name, 'listed', '1') -- a worker of layout 1 makes sums without it
  if ends > 0 then
    goes = format('%.0f', ends + KEPT_S)
    call('EXPIREAT', root .. 'sums:' .. name, goes)
  end
  local windows = root .. 'windows:' .. sub(name, 1, -#window - 2)
  call('ZADD', windows, ends > 0 and end_s or '+inf', window)
  call('ZREMRANGEBYSCORE', windows, '-inf', text(now - KEPT_S))
  call('ZADD', root .. 'counters', goes, name)
  call('ZREMRANGEBYSCORE', root .. 'counters', '-inf', text(now))
end
