/** What happens, for people: a line each. */
import type { ChassisEvent, Event } from '../../manager/control/api.js';

/** `2026-01-31T12:00:00.000Z dev mount.attached src in slot 1, function 0: parked` */
export function happenedText(event: Event): string {
  const { time, type } = event;
  if (event.type === 'gap') return `${time} (${gapText(event.missed)})`;
  const details = detailsOf(event);
  return [time, event.chassis, type, ...(details === '' ? [] : [details])].join(' ');
}

function gapText(missed: number | undefined): string {
  if (missed !== undefined) return `${missed} events were missed: look again at what there is`;
  return 'what came before is not known to this daemon: look again at what there is';
}

function detailsOf(event: ChassisEvent): string {
  switch (event.type) {
    case 'chassis.created':
      return `with ${event.slots} slots`;
    case 'function.changed':
      return `${event.name} ${placeText(event)}: ${event.formerly} → ${event.state}${because(event.reason)}`;
    case 'mount.attached':
      return `${event.tag} ${attachedPlaceText(event)}: ${event.state}`;
    case 'mount.detached':
      return event.kept ? `${event.tag}, its function is kept` : event.tag;
    case 'mount.changed':
      return [event.tag, ...changesText(event)].join(' ');
    case 'mount.inGuest':
      return `${event.tag}: ${event.state}${because(event.reason)}`;
    case 'disk.added':
    case 'card.added':
      return `${event.name} ${placeText(event)}: ${event.state}`;
    case 'disk.resized':
      return `${event.name}: ${event.sizeBytes} bytes`;
    case 'card.link':
      return `${event.name}: ${event.up ? 'up' : 'down'}`;
    case 'disk.removed':
    case 'card.removed':
      return event.name;
    case 'process.started':
      return `as ${event.pid}`;
    case 'process.lost':
      return `${event.reason}${event.recovering ? ', and is being started again' : ''}`;
    case 'process.upgraded':
      return `${event.formerPid} → ${event.pid}`;
    case 'vm.connected':
      return `${event.vmm} ${event.version}`;
    case 'vm.refused':
      return event.reason;
    case 'chassis.removed':
    case 'vm.gone':
    case 'helper.there':
    case 'helper.gone':
      return '';
  }
}

function placeText({ slot, function: fn }: { slot: number; function: number }): string {
  return `in slot ${slot}, function ${fn}`;
}

function attachedPlaceText(event: Extract<ChassisEvent, { type: 'mount.attached' }>): string {
  if (event.via === 'tree') return `in the tree${event.target === undefined ? '' : ` for ${event.target}`}`;
  return placeText(event) + (event.queue === undefined ? '' : `, queue ${event.queue}`);
}

function changesText({
  readOnly,
  revoked,
  policy,
}: Extract<ChassisEvent, { type: 'mount.changed' }>): string[] {
  return [
    revoked ? 'revoked' : readOnly ? 'read-only' : 'writable',
    ...(policy ? ['with another policy'] : []),
  ];
}

function because(reason: string | undefined): string {
  return reason === undefined ? '' : ` (${reason})`;
}
