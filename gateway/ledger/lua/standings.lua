-- Whether those who pay are still as the worker believes. A state is the JSON list [version, revoked, expires, …], all text.
-- `usual` is how it begins of one that may be used, of the version that the worker knows; '' where there need be none.
-- A key or a team must be there and may be used; of the others only the version counts, 0 where there is no record.

local function standing(states, id, usual)
  local state = call('HGET', states, id)
  if usual == '' then
    if not state then return nil end
  elseif state and sub(state, 1, #usual) == usual then
    return nil
  end
  local kind, version = string.match(states, '%a+$'), string.match(usual, '%d+') or '0'
  if kind ~= 'key' and kind ~= 'team' then
    return (state and cjson.decode(state)[1] or '0') ~= version and 'stale' or nil
  end
  if not state then return 'gone' end
  state = cjson.decode(state)
  if state[2] == '1' or (state[3] ~= '' and now >= tonumber(state[3])) then return 'gone' end
  return state[1] ~= version and 'stale' or nil
end
