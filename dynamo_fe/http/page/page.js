'use strict';

const PATHS = __PATHS__;
const REFRESH_MS = 3000;
const byId = (id) => document.getElementById(id);
const messages = [];
let running = null;

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
      [PATHS.ready, PATHS.health].map(async (path) => (await fetch(path)).json()));
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

function say(kind, text) {
  const line = document.createElement('p');
  line.className = kind;
  line.textContent = text;
  byId('talk').append(line);
  byId('talk').scrollTop = byId('talk').scrollHeight;
  return line;
}

function explain(header) {
  byId('routing').hidden = !header;
  if (header) byId('explanation').textContent = JSON.stringify(JSON.parse(header), null, 1);
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

async function answer(line, signal) {
  const response = await fetch(PATHS.chat, {
    method: 'POST',
    headers: {'content-type': 'application/json', 'x-dynamo-fe-explain': 'true'},
    body: JSON.stringify({model: byId('model').value, messages, stream: true}),
    signal,
  });
  explain(response.headers.get('x-dynamo-fe-explanation'));
  if (!response.ok) throw new Error((await response.json()).message || response.statusText);
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message || event.message);
    const delta = event.choices && event.choices[0] && event.choices[0].delta;
    if (delta) line.textContent += delta.reasoning_content || delta.content || '';
    byId('talk').scrollTop = byId('talk').scrollHeight;
  }
}

async function send() {
  const text = byId('message').value.trim();
  if (running || !text) return;
  byId('message').value = '';
  messages.push({role: 'user', content: text});
  say('user', text);
  const line = say('assistant', '');
  running = new AbortController();
  byId('send').disabled = true;
  byId('stop').disabled = false;
  try {
    await answer(line, running.signal);
  } catch (error) {
    say('failure', error.name === 'AbortError' ? 'stopped' : error.message);
  }
  messages.push({role: 'assistant', content: line.textContent});
  running = null;
  byId('send').disabled = false;
  byId('stop').disabled = true;
  byId('message').focus();
}

byId('form').addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});
byId('message').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && running) running.abort();
});
byId('stop').addEventListener('click', () => running && running.abort());
byId('clear').addEventListener('click', () => {
  messages.length = 0;
  byId('talk').replaceChildren();
  explain(null);
});
byId('metrics').href = PATHS.metrics;
refresh();
