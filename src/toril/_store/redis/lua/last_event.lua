-- Give the id of the newest event, also when no event is kept any more.
--
-- keys   queue
-- wire   W-40
-- reply  an id
local events = queue[1].events
local newest = call("XREVRANGE", events, "+", "-", "COUNT", 1)[1]
if newest then
  return newest[1]
elseif call("EXISTS", events) == 0 then
  return "0-0"
end
local facts = call("XINFO", "STREAM", events)
for i = 1, #facts, 2 do
  if facts[i] == "last-generated-id" then
    return facts[i + 1]
  end
end
