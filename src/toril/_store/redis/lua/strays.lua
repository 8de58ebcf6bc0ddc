-- Find jobs that stand nowhere, a bounded number of keys a call; nothing is changed.
--
-- keys   queue...
-- args   cursor pattern longest
-- each   look: queue
-- use    stray
-- wire   W-57
-- reply  for each job: the place of its queue and its id; and the cursor to go on from
local found, cursor = stray.find(each.look, arg.cursor, arg.pattern, tonumber(arg.longest))
return { found, cursor }
