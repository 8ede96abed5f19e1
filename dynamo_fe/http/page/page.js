'use strict';

const PATHS = __PATHS__;
const REFRESH_MS = 3000;
const ANSWER_MS = 10000;
const byId = (id) => document.getElementById(id);
const AT_END_PX = 40;
const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
// what `clear` begins anew: an answer that still comes in belongs to the one before
let conversation = [];
let running = null;

// JSON.parse rounds instance ids, which have 64 bits: what is longer than a number can be exact is read as text.
function parse(text) {
  return JSON.parse(text.replace(NUMBERS, (token) => (/^-?\d{16,}$/.test(token) ? `"${token}"` : token)));
}

function fill(id, tag, texts) {
  byId(id).replaceChildren(...texts.map((text) => {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }));
}

function fillTable(rows) {
  byId('workers').replaceChildren(...rows.map((cells) => {
    const row = document.createElement('tr');
    for (const text of cells) row.insertCell().textContent = text;
    return row;
  }));
}

function offer(names) {
  const select = byId('model');
  const before = select.value;
  if ([...select.options].map((option) => option.value).join('\n') === names.join('\n')) return;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(before)) select.value = before;
}

async function refresh() {
  try {
    const [ready, health] = await Promise.all(
      [PATHS.ready, PATHS.health].map(async (path) => {
        const response = await fetch(path, {signal: AbortSignal.timeout(ANSWER_MS)});
        return parse(await response.text());
      }));
    byId('state').textContent = ready.status === 'ready' ? 'ready' : 'not ready';
    byId('state').className = ready.status === 'ready' ? 'ready' : 'not-ready';
    fill('models', 'li', ready.models);
    fill('reasons', 'li', ready.reasons);
    offer(ready.models);
    fillTable((health.instances || []).map((each) => [
      `${each.namespace}/${each.component}/${each.endpoint}`,
      each.instance_id,
      Object.values(each.transport || {}).join(' '),
    ]));
  } catch (error) {
    byId('state').textContent = `no answer: ${error.message}`;
    byId('state').className = 'not-ready';
  }
  setTimeout(refresh, REFRESH_MS);
}

function append(line, text) {
  const talk = byId('talk');
  const atEnd = talk.scrollHeight - talk.scrollTop - talk.clientHeight < AT_END_PX;
  line.firstChild.appendData(text);
  if (atEnd) talk.scrollTop = talk.scrollHeight;
}

function say(kind, text) {
  const line = document.createElement('p');
  line.className = kind;
  line.append(document.createTextNode(text));
  byId('talk').append(line);
  byId('talk').scrollTop = byId('talk').scrollHeight;
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

async function refusal(response) {
  const text = await response.text();
  let message = '';
  try {
    const body = JSON.parse(text);
    message = (body.error && body.error.message) || body.message;
  } catch {
    message = text.trim();
  }
  const after = response.headers.get('retry-after');
  return new Error(`${message || response.statusText || response.status}${after ? ` (try again in ${after} s)` : ''}`);
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
    body: JSON.stringify({model: byId('model').value, messages: own, stream: true}),
    signal,
  });
  explain(response.headers.get('x-dynamo-fe-explanation'));
  if (!response.ok) throw await refusal(response);
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message || event.message);
    const delta = event.choices && event.choices[0] && event.choices[0].delta;
    if (!delta) continue;
    show(lines, own, 'reasoning', delta.reasoning_content || delta.reasoning);
    show(lines, own, 'assistant', delta.content);
  }
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
  running = new AbortController();
  byId('send').disabled = true;
  byId('stop').disabled = false;
  try {
    await answer(own, lines, running.signal);
    if (!lines.assistant && own === conversation) say('failure', 'the answer has no text');
  } catch (error) {
    if (own === conversation) say('failure', error.name === 'AbortError' ? 'stopped' : error.message);
  }
  conclude(own, text, lines.assistant ? lines.assistant.textContent : '');
  running = null;
  byId('send').disabled = false;
  byId('stop').disabled = true;
  byId('message').focus();
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
  if (event.key === 'Escape') stop();
});
byId('stop').addEventListener('click', stop);
byId('clear').addEventListener('click', () => {
  conversation = [];
  stop();
  byId('talk').replaceChildren();
  explain(null);
});
byId('metrics').href = PATHS.metrics;
refresh();
