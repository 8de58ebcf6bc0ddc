-- Drain or clean: take jobs of one role away, silently but for one `cleaned`.
--
-- keys   queue
-- args   caller number now prefix role before limit passed tell
-- each   job: id
-- use    choice event removal where
-- emits  cleaned waiting delayed
-- wire   W-114 W-115
-- reply  ids, none, passed over, end
local function drop(q, id, passed, now)
  where.out(q, arg.role, id, passed)
  removal.drop(q, id, now)
end

return choice.run(drop, function(reply)
  if arg.tell == "1" and #reply[1] > 0 then
    event.emit(queue[1], "cleaned", "count", #reply[1])
  end
end)
