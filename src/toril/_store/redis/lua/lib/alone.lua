-- Groups of one call fail alone: an error of one is its answer, and the others go on.
local alone = {}

-- Errors of the whole server, not of one group: they end the call, which is made again.
local OF_ALL = {
  "OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "LOADING",
  "BUSY", "Script killed", "UNKILLABLE",
}

-- Run a function for one group; give what it gives, or "fault" and the text of its error.
function alone.run(work, ...)
  local done, answer = pcall(work, ...)
  if done then
    return answer
  end
  local text = type(answer) == "table" and answer.err or tostring(answer)
  for i = 1, #OF_ALL do
    if text:find(OF_ALL[i], 1, true) then
      error(answer, 0)
    end
  end
  return "fault " .. text
end

return alone
