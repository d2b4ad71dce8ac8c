/** The executable of a device process. */
import { openSource, servedFunctions } from '../composition.js';
import { openOverlay } from '../mount-file-system.js';
import { runProcess } from '../process-main.js';
import { DeviceProcess } from './device-process.js';
import { handOverConnections } from './hand-over/connections.js';
import { HandOvers } from './hand-over/hand-overs.js';

runProcess(
  ({ reactor, report, log, moveTo }) =>
    new DeviceProcess({
      createFunction: servedFunctions(reactor, log),
      openOverlay: (source, upper, owner) => openOverlay(openSource, source, upper, owner),
      handOvers: new HandOvers({
        connections: handOverConnections(reactor),
        onTakenOver: moveTo,
        onHandedOver: () => process.exit(0),
      }),
      report,
      log,
    }),
);
