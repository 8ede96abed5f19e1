-- Requests for wrk. SCENARIO, MODEL and SEED come by the environment; every request has a text of its own.
local scenario = os.getenv("SCENARIO")
local model = os.getenv("MODEL")

local words = {
  "river", "engine", "cargo", "winter", "signal", "harbor", "matrix", "velvet", "orbit", "copper", "lantern", "meadow",
  "ribbon", "thunder", "quartz", "saddle", "temple", "violin", "walnut", "zephyr", "and", "the", "of", "to", "in", "is",
  "with", "for", "on", "that",
}

local function text(count)
  local chosen = {}
  for i = 1, count do
    chosen[i] = words[math.random(#words)]
  end
  return table.concat(chosen, " ")
end

local prompt_words = { stream128 = 20, unary1 = 20, long8k = 8000, shared8k = 2000 }
local one = '"max_tokens":1'
local rest = { stream128 = '"max_tokens":128,"stream":true', unary1 = one, long8k = one, shared8k = one }

-- what all prompts of a scenario begin with
math.randomseed(6000)
local beginning = scenario == "shared8k" and text(6000) .. " " or ""
math.randomseed(tonumber(os.getenv("SEED")))

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  return wrk.format(nil, nil, nil, string.format(
    '{"model":"%s","messages":[{"role":"user","content":"%s"}],%s}', model, beginning .. text(prompt_words[scenario]), rest[scenario]
  ))
end
