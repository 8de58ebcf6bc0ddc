-- Note something of the whole store; the oldest notes go. One with an id is replaced under that id.
--
-- keys   queue
-- args   caller number now kind id body was most
-- use    clock once
-- wire   W-155
-- reply  the id of the note; empty: under it is noted something else than `was`
local function oldest(key)
  local all, found, first = call("HGETALL", key), nil, nil
  for i = 1, #all, 2 do
    local at = tonumber(all[i + 1]:match("^%d+")) or 0
    if not first or at < first then
      found, first = all[i], at
    end
  end
  return found
end

local function main()
  local key = queue[1].base .. "toril:" .. arg.kind
  local now = string.format("%.0f", clock.now(arg.now))
  if arg.id == "" then
    return call("XADD", key, "MAXLEN", "~", arg.most, clock.id(), "body", arg.body)
  end
  local before = call("HGET", key, arg.id)
  if arg.was ~= "*" and arg.was ~= (before and "=" .. before:match("^%d+ (.*)") or "=") then
    return ""
  end
  call("HSET", key, arg.id, (before and before:match("^%d+") or now) .. " " .. arg.body)
  if call("HLEN", key) > tonumber(arg.most) then
    call("HDEL", key, oldest(key))
  end
  return arg.id
end

return once.run(main)
