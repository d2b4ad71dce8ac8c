/** Asks a daemon what is plugged in where: `node client.js [STATE-DIRECTORY]`. */
import { ChassisClient, ChassisError, type Mount } from 'chassis/client';

const directory = process.argv[2];
const client = new ChassisClient(directory === undefined ? {} : { directory });
try {
  const mounts: Mount[] = await client.mounts();
  for (const { tag, slot, function: fn, state } of mounts) console.log(`${tag} ${slot}.${fn} ${state}`);
} catch (error) {
  if (!(error instanceof ChassisError)) throw error;
  console.error(`${error.message}${error.suggestion === undefined ? '' : `\n${error.suggestion}`}`);
  process.exitCode = 1;
}
