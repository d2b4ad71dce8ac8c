import { describe, expect, it } from 'vitest';
import type { Card, Chassis, Disk, FunctionCounters, Mount } from '../../../manager/control/api.js';
import { Exposition } from '../../../manager/control/exposition.js';
import { FAMILIES, metricsText } from '../../../manager/control/metrics.js';
import { CARD, CHASSIS, DISK, MOUNT } from './noting-service.js';

const HEALTH = { version: '1.2.3', pid: 7 };
const OF_QUEUES = { kicks: 5, interrupts: 4, wakes: 3, spuriousWakes: 1, polls: 9, requests: 100 };
const COUNTERS: FunctionCounters = {
  ...OF_QUEUES,
  ...{ queues: [OF_QUEUES, OF_QUEUES], bytesRead: 4096, bytesWritten: 512, fids: 2 },
};

function lines(...all: Chassis[]): string[] {
  return metricsText(HEALTH, { chassis: all, silent: [] }).split('\n');
}

/** Those of one name in the labels. */
function linesOf(name: string, chassis: Partial<Chassis>): string[] {
  return lines({ ...CHASSIS, ...chassis }).filter((line) => line.includes(`name="${name}"`));
}

describe('the text format', () => {
  const families = {
    b_total: { type: 'counter', help: 'Second.' },
    a: { type: 'gauge', help: 'First.' },
  } as const;

  it('has a family in one piece, in the order of families, each with its help and type', () => {
    const exposition = new Exposition(families);
    exposition.add('a', {}, 1.5);
    exposition.add('b_total', { x: 1 }, 2);
    exposition.add('a', { y: 'z', absent: undefined }, true);
    expect(exposition.text()).toBe(
      [
        ...['# HELP b_total Second.', '# TYPE b_total counter', 'b_total{x="1"} 2'],
        ...['# HELP a First.', '# TYPE a gauge', 'a 1.5', 'a{y="z"} 1', ''],
      ].join('\n'),
    );
  });

  it('leaves out what has no value, and families without samples', () => {
    const exposition = new Exposition(families);
    exposition.add('a', {}, undefined);
    expect(exposition.text()).toBe('');
  });

  it('escapes what a label may have in it', () => {
    const exposition = new Exposition(families);
    exposition.add('a', { tag: 'q"b\\n\nb_total 1\r#{}é' }, 0);
    expect(exposition.text().split('\n')[2]).toBe('a{tag="q\\"b\\\\n\\nb_total 1\r#{}é"} 0');
  });
});

describe('a histogram in the text format', () => {
  it('has each bucket with all that took no longer, then the sum and the count', () => {
    const exposition = new Exposition({ h: { type: 'histogram', help: 'How long.' } });
    exposition.addHistogram('h', { x: 1 }, { ends: [0.5, 2], counts: [3, 0, 4], sum: 99.5 });
    expect(exposition.text().trimEnd().split('\n').slice(1)).toEqual([
      ...['# TYPE h histogram', 'h_bucket{x="1",le="0.5"} 3', 'h_bucket{x="1",le="2"} 3'],
      ...['h_bucket{x="1",le="+Inf"} 7', 'h_sum{x="1"} 99.5', 'h_count{x="1"} 7'],
    ]);
  });
});

describe('the metrics', () => {
  it('have how long requests took of each kind, in buckets that are the same for all', () => {
    const read = { endsUs: [1.28, 1.536, 2.048, 2 ** 53 / 1000], counts: [1, 2, 4, 8], sumUs: 5000 };
    const flush = { endsUs: [1024], counts: [1], sumUs: 900 };
    const labels = 'chassis="dev",kind="disk",name="d"';
    const disk: Disk = { ...DISK, name: 'd', counters: { ...COUNTERS, latencies: { read, flush } } };
    const said = linesOf('d', { disks: [disk] }).filter((line) => line.includes('duration'));
    expect(said).toHaveLength(2 * (25 + 3));
    expect(said.slice(0, 4)).toEqual([
      `chassis_request_duration_seconds_bucket{${labels},operation="read",le="0.000001024"} 0`,
      `chassis_request_duration_seconds_bucket{${labels},operation="read",le="0.000002048"} 7`,
      `chassis_request_duration_seconds_bucket{${labels},operation="read",le="0.000004096"} 7`,
      `chassis_request_duration_seconds_bucket{${labels},operation="read",le="0.000008192"} 7`,
    ]);
    expect(said.slice(25, 28)).toEqual([
      `chassis_request_duration_seconds_bucket{${labels},operation="read",le="+Inf"} 15`,
      `chassis_request_duration_seconds_sum{${labels},operation="read"} 0.005`,
      `chassis_request_duration_seconds_count{${labels},operation="read"} 15`,
    ]);
    expect(said.find((line) => line.endsWith('le="0.001048576"} 1'))).toContain('operation="flush"');
  });

  it('say which daemon it is where there is no chassis', () => {
    expect(lines().slice(1)).toEqual([
      ...['# TYPE chassis_daemon_info gauge', 'chassis_daemon_info{version="1.2.3"} 1', ''],
    ]);
  });

  it('are named by the conventions', () => {
    for (const [name, { type, help }] of Object.entries(FAMILIES)) {
      expect(name).toMatch(/^chassis_[a-z_]+$/);
      expect([name, name.endsWith('_total')]).toEqual([name, type === 'counter']);
      expect(help).toMatch(/^[^\\\n]+\.$/);
    }
  });

  it('have slots, the state of the device process and its restarts, and the VMM of a chassis', () => {
    const chassis = lines({
      ...CHASSIS,
      deviceProcess: { state: 'recovering', restarts: 3 },
      vmm: { type: 'qemu', version: '10.0.2', notes: [] },
      mounts: [],
    });
    expect(chassis.filter((line) => line.includes('chassis="dev"'))).toEqual([
      'chassis_device_process_answers{chassis="dev"} 1',
      'chassis_slots{chassis="dev"} 8',
      'chassis_slots_free{chassis="dev"} 7',
      'chassis_device_process_state{chassis="dev",state="running"} 0',
      'chassis_device_process_state{chassis="dev",state="recovering"} 1',
      'chassis_device_process_state{chassis="dev",state="lost"} 0',
      'chassis_device_process_restarts_total{chassis="dev"} 3',
      'chassis_vmm_info{chassis="dev",type="qemu",version="10.0.2"} 1',
      'chassis_kept_overlays{chassis="dev"} 0',
    ]);
  });

  it('say of a chassis that does not answer that it does not', () => {
    const text = metricsText(HEALTH, { chassis: [CHASSIS], silent: ['two'] });
    const samples = text.split('\n').filter((line) => /^chassis_device_process_answers/.test(line));
    expect(samples.sort()).toEqual([
      'chassis_device_process_answers{chassis="dev"} 1',
      'chassis_device_process_answers{chassis="two"} 0',
    ]);
    expect(text.match(/"two"/g)).toHaveLength(1);
  });

  it('have what crossed a mount, and what the guest holds of it', () => {
    const mount: Mount = { ...MOUNT, tag: 'src', state: 'plugged', port: 'vfio-user', counters: COUNTERS };
    const labels = '{chassis="dev",kind="mount",name="src",port="vfio-user"';
    expect(linesOf('src', { mounts: [mount] })).toEqual([
      `chassis_device_info${labels},via="function",slot="1",function="0",state="plugged"} 1`,
      `chassis_requests_total${labels}} 100`,
      `chassis_kicks_total${labels}} 5`,
      `chassis_wakes_total${labels}} 3`,
      `chassis_spurious_wakes_total${labels}} 1`,
      `chassis_polls_total${labels}} 9`,
      `chassis_interrupts_total${labels}} 4`,
      `chassis_read_bytes_total${labels}} 4096`,
      `chassis_written_bytes_total${labels}} 512`,
      `chassis_queues${labels}} 2`,
      `chassis_fids${labels}} 2`,
    ]);
  });

  it('have of a mount of the tree what the guest holds of it, and tell what carries others from those', () => {
    const held = { held: { fids: 6, openFiles: 2 }, watching: { directories: 3 } };
    const carried: Mount = { ...MOUNT, tag: 'src', via: 'tree', ...held };
    const tree: Mount = { ...MOUNT, tag: 'chassis', source: { type: 'tree' }, counters: COUNTERS };
    const mux: Mount = { ...MOUNT, tag: 'mux', source: { type: 'queues' }, counters: COUNTERS };
    const labels = '{chassis="dev",kind="mount",name="src"';
    expect(linesOf('src', { mounts: [tree, mux, carried] })).toEqual([
      `chassis_device_info${labels},via="tree",slot="1",function="0",state="parked"} 1`,
      `chassis_fids${labels}} 6`,
      `chassis_open_files${labels}} 2`,
      `chassis_watched_directories${labels}} 3`,
    ]);
    expect(lines({ ...CHASSIS, mounts: [tree, mux] })).toEqual(
      expect.arrayContaining([
        'chassis_requests_total{chassis="dev",kind="tree",name="chassis"} 100',
        'chassis_requests_total{chassis="dev",kind="queues",name="mux"} 100',
      ]),
    );
  });

  it('have what crossed a disk, its size, and whether it is in trouble', () => {
    const disk: Disk = { ...DISK, counters: COUNTERS, sizeBytes: 2 ** 40, trouble: 'it was cut short' };
    expect(linesOf('root', { disks: [disk] })).toEqual(
      expect.arrayContaining([
        'chassis_requests_total{chassis="dev",kind="disk",name="root"} 100',
        'chassis_read_bytes_total{chassis="dev",kind="disk",name="root"} 4096',
        'chassis_disk_size_bytes{chassis="dev",kind="disk",name="root"} 1099511627776',
        'chassis_disk_trouble{chassis="dev",kind="disk",name="root"} 1',
      ]),
    );
    expect(linesOf('root', { disks: [{ ...DISK }] }).at(-1)).toMatch(/^chassis_disk_trouble.* 0$/);
  });

  it('have what crossed a card, and why what did not', () => {
    const card: Card = {
      ...{ ...CARD, carrier: true, counters: { ...OF_QUEUES, queues: [] } },
      statistics: {
        ...{ txFrames: 1, txBytes: 2, txInvalid: 3, txDropped: 4 },
        ...{ rxFrames: 5, rxBytes: 6, rxFiltered: 7, rxDropped: 8, rxTooLong: 9 },
      },
      switchPort: { sent: 10, received: 11, refused: 12, storm: 13, dropped: 14 },
    };
    const labels = '{chassis="dev",kind="card",name="lan0"';
    expect(linesOf('lan0', { cards: [card] }).slice(8)).toEqual([
      `chassis_card_carrier${labels}} 1`,
      `chassis_card_transmit_frames_total${labels}} 1`,
      `chassis_card_transmit_bytes_total${labels}} 2`,
      `chassis_card_transmit_discarded_frames_total${labels},reason="invalid"} 3`,
      `chassis_card_transmit_discarded_frames_total${labels},reason="dropped"} 4`,
      `chassis_card_receive_frames_total${labels}} 5`,
      `chassis_card_receive_bytes_total${labels}} 6`,
      `chassis_card_receive_discarded_frames_total${labels},reason="filtered"} 7`,
      `chassis_card_receive_discarded_frames_total${labels},reason="dropped"} 8`,
      `chassis_card_receive_discarded_frames_total${labels},reason="too_long"} 9`,
      `chassis_switch_port_transmit_frames_total${labels}} 10`,
      `chassis_switch_port_receive_frames_total${labels}} 11`,
      `chassis_switch_port_discarded_frames_total${labels},reason="refused"} 12`,
      `chassis_switch_port_discarded_frames_total${labels},reason="storm"} 13`,
      `chassis_switch_port_discarded_frames_total${labels},reason="dropped"} 14`,
    ]);
  });
});
