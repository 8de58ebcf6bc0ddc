-- The requests of one call: carry them out, and keep what a repeated call needs.
--
-- use    alone claims
local claiming = {}

-- Gather the names to skip by the request that says so.
local function skips()
  local found = {}
  for i = 1, #each.skip do
    local request = tonumber(each.skip[i].request)
    found[request] = found[request] or {}
    found[request][each.skip[i].name] = true
  end
  return found
end

-- Answer every request; give the answers, and the ids with what else they said.
function claiming.all(now)
  local answers, kept, skip = {}, {}, skips()
  for i = 1, #each.request do
    local answer = alone.run(claims.take, each.request[i], skip[i], now)
    if type(answer) == "string" then
      answer = { {}, false, "damaged" }
    end
    local ids = {}
    for j = 1, #answer[1] do
      ids[j] = answer[1][j][1]
    end
    answers[i] = answer
    kept[i] = { ids, answer[2], answer[3] }
  end
  return answers, kept
end

-- Answer every request as before, with the jobs that are still held.
function claiming.again(kept)
  local answers = {}
  for i = 1, #kept do
    local want = each.request[i]
    answers[i] = { claims.reread(want.queue, kept[i][1], want.token), kept[i][2], kept[i][3] }
  end
  return answers
end

return claiming
