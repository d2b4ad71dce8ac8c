/** The executable of a device process. */
import { openSource, servedFunctions } from '../composition.js';
import { openOverlay } from '../mount-file-system.js';
import { runProcess } from '../process-main.js';
import { DeviceProcess } from './device-process.js';

runProcess(
  ({ reactor, report, log }) =>
    new DeviceProcess({
      createFunction: servedFunctions(reactor, log),
      openOverlay: (source, upper, owner) => openOverlay(openSource, source, upper, owner),
      report,
      log,
    }),
);
