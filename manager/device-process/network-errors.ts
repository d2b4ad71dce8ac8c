/** What the operator is told where a card's network cannot be had. */
import type { HostError } from '../../host/index.js';
import { ChassisError } from '../control/api.js';

export function tapUnavailable(name: string, error: HostError): ChassisError {
  return new ChassisError(
    'NETWORK_UNAVAILABLE',
    `cannot open the TAP device ${name}: ${error.message}`,
    `make it for the daemon's user: ip tuntap add ${name} mode tap user NAME`,
  );
}
