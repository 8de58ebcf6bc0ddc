-- Work on queues one by one: one with a key of another kind is left, and the others are served.
local apart = {}

-- Work on the queue of each row; give the places of those that are damaged. The work reads all keys
-- of the queue before it writes to one, and gives true where only a job is damaged.
function apart.each(rows, work)
  local damaged = {}
  for place = 1, #rows do
    local fine, fault = pcall(work, rows[place].queue, place)
    if fine and fault then
      damaged[#damaged + 1] = place
    elseif not fine then
      local text = type(fault) == "table" and fault.err or tostring(fault)
      if not text:find("WRONGTYPE", 1, true) then
        error(fault, 0)
      end
      damaged[#damaged + 1] = place
    end
  end
  return damaged
end

return apart
