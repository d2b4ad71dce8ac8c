/**
 * Sees to it that a directory stays attached to a chassis, whoever takes it away: `node keep-attached.mjs CHASSIS TAG DIRECTORY`. Runs until it is interrupted.
 */
import { ChassisClient } from 'chassis/client';

const [chassis, tag, path] = process.argv.slice(2);
if (path === undefined) {
  console.error('usage: node keep-attached.mjs CHASSIS TAG DIRECTORY');
  process.exit(2);
}
// Of $CHASSIS_DIR, or of the default directory.
const client = new ChassisClient();

async function attachIfGone() {
  const mounts = await client.mounts(chassis);
  if (mounts.some((mount) => mount.tag === tag)) return;
  const [mount] = await client.attach(chassis, { mounts: [{ tag, source: { type: 'directory', path } }] });
  console.log(`attached ${mount.tag} to slot ${mount.slot}: ${mount.state}`);
}

// Followed first and looked at then: what happens in between is told.
const events = await client.events({ chassis });
await attachIfGone();
for await (const event of events) {
  const isGone = event.type === 'mount.detached' && event.tag === tag;
  // After a gap, nobody knows what was missed.
  if (isGone || event.type === 'gap') await attachIfGone();
}
