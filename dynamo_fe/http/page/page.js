'use strict';

const PATHS = __PATHS__;
const REFRESH_MS = 3000;
const ANSWER_MS = 10000;
const byId = (id) => document.getElementById(id);
const AT_END_PX = 40;
const MOST_SHOWN = 1000;
const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
// what `clear` begins anew: an answer that still comes in belongs to the one before
let conversation = [];
let running = null;
let served = [];
const shown = {};
const unshown = new Map();

// JSON.parse rounds instance ids, which have 64 bits: what is longer than a number can be exact is read as text.
function parse(text) {
  return JSON.parse(text.replace(NUMBERS, (token) => (/^-?\d{16,}$/.test(token) ? `"${token}"` : token)));
}

// What has not changed is let be: it may be selected, or just be read out.
function fill(id, values, make) {
  const now = JSON.stringify(values);
  if (shown[id] === now) return;
  shown[id] = now;
  byId(id).replaceChildren(...values.map(make));
}

function item(text) {
  const element = document.createElement('li');
  element.textContent = text;
  return element;
}

function row(cells) {
  const element = document.createElement('tr');
  for (const text of cells) element.insertCell().textContent = text;
  return element;
}

// A chosen model that vanishes stays chosen: nobody is to go on with another one unawares.
function offer() {
  const select = byId('model');
  const chosen = select.value;
  const gone = chosen !== '' && !served.includes(chosen);
  const options = served.map((name) => [name, name]);
  if (gone) options.push([`${chosen} (not served now)`, chosen]);
  if (!options.length) options.push(['no model yet', '']);
  fill('model', options, ([text, value]) => new Option(text, value, false, value === chosen));
  let complaint = '';
  if (gone) complaint = 'This model is not served now.';
  else if (!served.length) complaint = 'No model is served yet.';
  select.setCustomValidity(complaint);
}

function tell(state, isReady) {
  if (byId('state').textContent === state) return;
  byId('state').textContent = state;
  byId('state').className = isReady ? 'ready' : 'not-ready';
}

function refusal(response, text) {
  let message = '';
  try {
    const body = JSON.parse(text);
    message = (body.error && body.error.message) || body.message;
  } catch {
    message = text.trim().slice(0, MOST_SHOWN);
  }
  const after = response.headers.get('retry-after') || '';
  const when = /^\d+$/.test(after) ? `in ${after} s` : `after ${after}`;
  return new Error(`${message || `${response.status} ${response.statusText}`.trim()}${after && ` (try again ${when})`}`);
}

// What stands in front of the service may answer in its place: then the field is missing.
async function ask(path, field) {
  const response = await fetch(path, {signal: AbortSignal.timeout(ANSWER_MS)});
  const text = await response.text();
  try {
    const body = parse(text);
    if (field in body) return body;
  } catch {
    throw refusal(response, text);
  }
  throw refusal(response, text);
}

async function refresh() {
  try {
    const [ready, health] = await Promise.all([ask(PATHS.ready, 'models'), ask(PATHS.health, 'status')]);
    tell(ready.status === 'ready' ? 'ready' : 'not ready', ready.status === 'ready');
    fill('models', ready.models, item);
    fill('reasons', ready.reasons, item);
    served = ready.models;
    offer();
    const serving = new Set(ready.endpoints);
    fill('workers', (health.instances || []).map((each) => [
      `${each.namespace}/${each.component}/${each.endpoint}`,
      each.instance_id,
      Object.values(each.transport || {}).join(' '),
    ]).filter(([endpoint]) => serving.has(endpoint)), row);
    byId('served').classList.remove('stale');
  } catch (error) {
    tell(`no answer: ${error.message}`, false);
    byId('served').classList.add('stale');
  }
  setTimeout(refresh, REFRESH_MS);
}

// A reader who has scrolled up is left there.
function change(make) {
  const talk = byId('talk');
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < AT_END_PX;
  make(talk);
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

// Once a frame, however many tokens come: each change lays out the whole paragraph anew.
function flush() {
  if (!unshown.size) return;
  change(() => unshown.forEach((text, line) => line.firstChild.appendData(text)));
  unshown.clear();
}

function append(line, text) {
  if (!unshown.size) requestAnimationFrame(flush);
  unshown.set(line, (unshown.get(line) || '') + text);
}

function say(kind, text) {
  const line = document.createElement('p');
  line.className = kind;
  line.dir = 'auto';
  line.append(document.createTextNode(text));
  change((talk) => talk.append(line));
  return line;
}

function explain(header) {
  byId('routing').hidden = !header;
  byId('explanation').textContent = header ? JSON.stringify(parse(header), null, 1) : '';
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n');
      if (data && data !== '[DONE]') yield JSON.parse(data);
    }
  }
}

function show(lines, own, kind, text) {
  if (!text || own !== conversation) return;
  if (!lines[kind]) lines[kind] = say(kind, '');
  append(lines[kind], text);
}

async function answer(own, lines, signal) {
  const response = await fetch(PATHS.chat, {
    method: 'POST',
    headers: {'content-type': 'application/json', 'x-dynamo-fe-explain': 'true'},
    // what is undefined is not sent
    body: JSON.stringify({
      model: byId('model').value,
      messages: own,
      stream: true,
      max_tokens: byId('limit').value ? byId('limit').valueAsNumber : undefined,
    }),
    signal,
  });
  explain(response.headers.get('x-dynamo-fe-explanation'));
  if (!response.ok) throw refusal(response, await response.text());
  let finish = null;
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message || event.message);
    const choice = (event.choices && event.choices[0]) || {};
    const delta = choice.delta || {};
    show(lines, own, 'reasoning', delta.reasoning_content || delta.reasoning);
    show(lines, own, 'assistant', delta.content);
    finish = choice.finish_reason || finish;
  }
  if (!lines.assistant) throw new Error('the answer has no text');
  if (finish === 'length' && own === conversation) say('note', 'cut off: the limit of tokens is reached');
}

function mishap(error) {
  if (error.name === 'AbortError') return 'stopped';
  return error instanceof TypeError ? `the connection failed: ${error.message}` : error.message;
}

// The focus of a button that is disabled would go nowhere; elsewhere it is the user's.
function setRunning(controller) {
  running = controller;
  if (document.activeElement === byId(running ? 'send' : 'stop')) byId('message').focus();
  byId('send').disabled = Boolean(running);
  byId('stop').disabled = !running;
  byId('talk').setAttribute('aria-busy', Boolean(running));
}

function conclude(own, text, content) {
  if (content) {
    own.push({role: 'assistant', content});
    return;
  }
  // without an answer the question is none of the conversation: it may be asked again
  own.pop();
  if (own === conversation && !byId('message').value) byId('message').value = text;
}

async function send() {
  const text = byId('message').value.trim();
  if (running || !text) return;
  const own = conversation;
  const lines = {};
  byId('message').value = '';
  own.push({role: 'user', content: text});
  say('user', text);
  byId('talk').scrollTop = byId('talk').scrollHeight;
  setRunning(new AbortController());
  try {
    await answer(own, lines, running.signal);
  } catch (error) {
    if (own === conversation) say('failure', mishap(error));
  }
  flush();
  conclude(own, text, lines.assistant ? lines.assistant.textContent : '');
  setRunning(null);
}

function stop() {
  if (running) running.abort();
}

byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});
byId('message').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId('form').requestSubmit();
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !event.isComposing) stop();
});
byId('stop').addEventListener('click', stop);
byId('clear').addEventListener('click', () => {
  conversation = [];
  stop();
  byId('talk').replaceChildren();
  explain(null);
  byId('message').focus();
});
byId('model').addEventListener('change', offer);
byId('metrics').href = PATHS.metrics;
byId('chat').hidden = !PATHS.chat;
setRunning(null);
offer();
refresh();
