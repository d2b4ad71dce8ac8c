/** The state directory, and the daemon that has it. */
import { ChassisError } from '../../manager/control/api.js';
import type { ChassisClient } from '../../manager/control/client.js';
import { checkStateDirectory } from '../../manager/control/state-directory.js';
import { failed, ok, warning, type Check } from './check.js';

export function checkDirectory(path: string): Check {
  try {
    return ok('state', checkStateDirectory(path) ? path : `${path}, which is not made yet`);
  } catch (error) {
    if (!(error instanceof ChassisError)) throw error;
    return failed('state', error.message, error.suggestion ?? '');
  }
}

/** `version` is the command line's own. */
export async function checkDaemon(client: Pick<ChassisClient, 'health'>, version: string): Promise<Check> {
  try {
    const health = await client.health();
    if (health.version === version) return ok('daemon', `${health.version} (pid ${health.pid})`);
    return failed(
      'daemon',
      `it is ${health.version}, and this is ${version}`,
      `end it (kill ${health.pid}) and start this one: chassis serve; chassis and guests go on meanwhile`,
    );
  } catch (error) {
    if (!(error instanceof ChassisError)) throw error;
    const check = error.code === 'NO_DAEMON' ? warning : failed;
    return check('daemon', error.message, error.suggestion ?? 'start one with: chassis serve');
  }
}
