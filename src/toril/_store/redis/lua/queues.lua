-- Name the queues that are registered, and look a little further for those that only BullMQ knows.
--
-- keys   registry
-- args   cursor pattern step
-- wire   W-05 W-123
-- reply  names, the cursor to go on from, keys named `meta`
local seen = { "0", {} }
if arg.cursor ~= "" then
  seen = call("SCAN", arg.cursor, "MATCH", arg.pattern, "COUNT", arg.step)
end
return { call("SMEMBERS", queue[1].base .. "toril:queues"), seen[1], seen[2] }
