-- Take, keep or give back a lock.
--
-- KEYS  1 the root of all names  2 the lock
-- ARGV  1 owner  2 for how long, in ms; 0 gives it back
-- Answers 1 when the lock is the owner's (or was given back), else 0.

local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return 1
