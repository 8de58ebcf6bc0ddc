-- Parents of a flow that comes in several calls: none is released before all of it is there.
--
-- use    alone family job
-- wire   W-77
local holding = {}

-- Give the key of a child that there is not, and that a parent is held by. It hangs below no job.
local function mark(parent)
  return job.split(parent).base .. "toril:rest"
end

-- Hold parents, those of the flow before they are there themselves. One of those that exists was
-- stored before: nothing is added below it.
function holding.start()
  for i = 1, #each.hold do
    local parent = each.hold[i].parent
    if each.hold[i].own ~= "1" or call("EXISTS", parent) == 0 then
      call("SADD", parent .. ":dependencies", mark(parent))
    end
  end
end

-- Hold nobody for a group that was refused, and release those whose flow is there as a whole.
function holding.stop(answers, now)
  local refused = type(answers[1]) == "table" and type(answers[1][1]) == "table"
  for i = 1, refused and #each.hold or 0 do
    local parent = each.hold[i].parent
    call("SREM", parent .. ":dependencies", mark(parent))
  end
  for i = 1, #each.free do
    local parent = each.free[i].parent
    call("SREM", parent .. ":dependencies", mark(parent))
    alone.beside(family.release_settled, parent, now)
  end
end

return holding
