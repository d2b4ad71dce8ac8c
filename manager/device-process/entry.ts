/** The executable of a device process. */
import { servedFunctions } from '../composition.js';
import { runProcess } from '../process-main.js';
import { DeviceProcess } from './device-process.js';

runProcess(
  ({ reactor, report, log }) =>
    new DeviceProcess({ createFunction: servedFunctions(reactor, log), report, log }),
);
