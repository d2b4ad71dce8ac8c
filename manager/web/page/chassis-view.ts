/** One chassis on the page. What does not change is left as it is, so that nobody loses the field that they are in. */
import { devicesOf } from './devices.js';
import { html } from './elements.js';
import { formsOf } from './forms.js';
import { pictureOf } from './picture.js';
import type { Chassis, Device } from './shapes.js';
import { tableOf, type Act } from './table.js';
import { TrafficMeter, trafficText, type Traffic } from './traffic.js';

const BAR_WIDTH = 200;
/** A full bar, and an empty one is a byte: what lies between is logarithmic. */
const FULL_BYTES = 2 ** 32;

export class ChassisView {
  readonly element: HTMLElement;
  private readonly name: string;
  private readonly act: Act;
  private readonly facts = html('p', { class: 'facts' });
  private readonly pictured = html('div');
  private readonly listed = html('div');
  private readonly meter = new TrafficMeter();
  /** What is drawn. */
  private drawn = '';

  constructor(name: string, act: Act) {
    this.name = name;
    this.act = act;
    const id = `chassis-${name}`;
    this.element = html(
      'section',
      { 'aria-labelledby': id },
      html('h2', { id }, name),
      ...[this.facts, this.pictured, this.listed],
      html('h3', {}, 'Plug in'),
      ...formsOf(name, act),
    );
  }

  show(chassis: Chassis, atMs: number): void {
    const devices = devicesOf(chassis);
    this.facts.textContent = factsOf(chassis);
    const drawn = JSON.stringify([chassis.slots, devices.map((device) => ({ ...device, counters: 0 }))]);
    if (drawn !== this.drawn) this.draw(chassis, devices);
    this.drawn = drawn;
    for (const [key, traffic] of this.meter.measure(devices, atMs)) this.showTraffic(key, traffic);
  }

  private draw(chassis: Chassis, devices: readonly Device[]): void {
    const focused = document.activeElement?.getAttribute('data-focus');
    this.pictured.replaceChildren(pictureOf(chassis, devices));
    this.listed.replaceChildren(tableOf(this.name, devices, this.act));
    if (focused === null || focused === undefined) return;
    const again = this.listed.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`);
    again?.focus();
  }

  private showTraffic(key: string, traffic: Traffic): void {
    const text = trafficText(traffic);
    for (const shown of this.element.querySelectorAll(`[data-traffic="${CSS.escape(key)}"]`))
      if (shown.textContent !== text) shown.textContent = text;
    const share = Math.log2(1 + traffic.bytes) / Math.log2(FULL_BYTES);
    const bar = this.element.querySelector(`[data-bar="${CSS.escape(key)}"]`);
    bar?.setAttribute('width', String(Math.round(Math.min(1, share) * BAR_WIDTH)));
  }
}

function factsOf({ vmm, vmmProblem, deviceProcess, guestHelper }: Chassis): string {
  const vm = vmmProblem ?? (vmm ? `${vmm.type} ${vmm.version}` : 'no VM');
  const helper = guestHelper ? ', the guest has the helper' : '';
  return `${vm}${helper}; device process ${deviceProcess.state}`;
}
