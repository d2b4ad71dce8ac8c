/** The executable of a device process. */
import { openSource, servedFunctions } from '../composition.js';
import { openOverlay } from '../mount-file-system.js';
import { runProcess } from '../process-main.js';
import { DeviceProcess } from './device-process.js';
import { handOverConnections } from './hand-over/connections.js';
import { HandOvers } from './hand-over/hand-overs.js';
import { isConfined } from './host-paths.js';
import { KeeperLink } from './keeping/keeper-link.js';
import { PeerStock } from './peer-stock.js';

runProcess(({ reactor, grants, report, log, moveTo }) => {
  const peers = new PeerStock((fn) => report({ event: 'unpeered', function: fn }));
  grants.onPeer = (fn, fd) => peers.put(fn, fd);
  const connections = handOverConnections(reactor);
  const keeper = new KeeperLink({ connections, log: log.warn });
  return new DeviceProcess({
    createFunction: servedFunctions(reactor, log, keeper, isConfined() ? peers : undefined),
    keeper,
    openOverlay: (source, upper, owner) => openOverlay(openSource, source, upper, owner),
    handOvers: new HandOvers({
      connections,
      onTakenOver: moveTo,
      onHandedOver: () => process.exit(0),
      onUnbegun: () => report({ event: 'unbegun' }),
    }),
    grants,
    report,
    log,
  });
});
