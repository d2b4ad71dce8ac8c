/** The page: shows all chassis, looks again when something happens, and at traffic while somebody looks at the page. */
import { ask, listChassis, Refusal } from './api.js';
import { ChassisView } from './chassis-view.js';
import { byId, html } from './elements.js';
import { addToList, follow } from './happened.js';

const TRAFFIC_MS = 2000;

const views = new Map<string, ChassisView>();
let looking = false;
let again = false;

/** One look at a time; what happens meanwhile is for the next one. */
async function look(): Promise<void> {
  again = looking;
  if (looking) return;
  looking = true;
  try {
    await show();
  } catch (error) {
    tell(error instanceof Refusal ? error.message : String(error));
  } finally {
    looking = false;
  }
  if (again) await look();
}

async function show(): Promise<void> {
  const all = await listChassis();
  const names = new Set(all.map(({ name }) => name));
  for (const [name, view] of views) {
    if (names.has(name)) continue;
    view.element.remove();
    views.delete(name);
  }
  const main = byId('all');
  for (const chassis of all) {
    const view = views.get(chassis.name) ?? new ChassisView(chassis.name, act);
    if (!views.has(chassis.name)) main.append(view.element);
    views.set(chassis.name, view);
    view.show(chassis, performance.now());
  }
  const none = main.querySelector('.none');
  if (all.length > 0) none?.remove();
  else if (!none) main.append(html('p', { class: 'none' }, 'There is no chassis yet: chassis create dev'));
}

function act(button: HTMLButtonElement, job: () => Promise<unknown>): void {
  button.disabled = true;
  tell('');
  job()
    .then(look, (error: unknown) => tell(error instanceof Refusal ? error.message : String(error)))
    .finally(() => {
      button.disabled = false;
    });
}

/** What went wrong last; nothing where the text is empty. */
function tell(text: string): void {
  const problem = byId('problem');
  problem.textContent = text;
  problem.hidden = text === '';
}

follow(
  (event) => {
    addToList(event);
    void look();
  },
  (isThere) => {
    byId('link').textContent = isThere ? 'connected' : 'the daemon does not answer';
    if (isThere) void look();
  },
);
setInterval(() => {
  if (document.visibilityState === 'visible') void look();
}, TRAFFIC_MS);
const { version, pid } = (await ask('GET', '/v1/health')) as { version: string; pid: number };
byId('daemon').textContent = `version ${version}, process ${pid}`;
