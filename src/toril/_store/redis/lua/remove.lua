-- Remove jobs, each with its children if so wanted: a whole tree, or nothing of it.
--
-- keys   queue
-- args   caller number now prefix role before limit passed children
-- each   job: id
-- use    choice removal
-- emits  removed waiting delayed
-- wire   W-111 W-112 W-113
-- reply  ids, refusals (missing · locked · owned), dealt with or passed over, end
local deep = arg.children == "1"

return choice.run(function(q, id, passed, now)
  local word, of, who, gone = removal.remove(q, id, deep, now, arg.role, passed)
  choice.spent = choice.spent + math.max(gone - 1, 0)
  return word, of, who
end)
