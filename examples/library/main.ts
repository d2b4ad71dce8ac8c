/** Serves a file system of one's own to a guest in this process, and looks at it from there. */
import { Chassis } from 'chassis';
import { Guest } from 'chassis/guest';
import { DocumentFs } from './document-fs.js';

let asked = 0;
const fs = new DocumentFs({
  'motd.txt': 'welcome',
  build: { number: 42, ok: true },
  asked: () => `${++asked} times`,
});

const chassis = new Chassis();
await chassis.attach(fs, { tag: 'facts' });
const guest = await Guest.boot(chassis);
const mount = await guest.mount('facts');

console.log((await mount.readdir('/')).join(' '));
console.log((await mount.readFile('/build/number', 'utf8')).trimEnd());
for (let i = 0; i < 2; i++) console.log((await mount.readFile('/asked', 'utf8')).trimEnd());
await mount
  .writeFile('/motd.txt', 'changed')
  .catch((error: unknown) => console.log((error as { code: string }).code));

await mount.unmount();
await guest.shutdown();
await chassis.close();
