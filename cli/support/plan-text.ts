import type { Plan } from '../../manager/control/api.js';

const CARRIED: Record<Plan['via'], string> = {
  function: 'each as a function of its own',
  queue: 'each on a queue of a multiplexing device',
  tree: 'all in the one multiplexing mount (the tree), on one function',
};

/** A plan for people; `command` makes it real. */
export function planText(plan: Plan, command: string): string {
  const { mounts, vmm, via, slots, functionsPerSlot, extensions, extensionKind, room, left } = plan;
  const per = functionsPerSlot === 1 ? 'one function each' : `${functionsPerSlot} functions each`;
  const behind =
    extensions === 0 ? '' : `, some of them on ${counted(extensions, extensionKind)} as extension chassis`;
  const lines = [
    `${counted(mounts, 'mount')} on ${vmm}, ${CARRIED[via]}`,
    `  needs       ${counted(slots, 'slot')} of ${per}${behind}`,
    `  takes       ${counted(room, 'mount')}, so ${left} are left`,
  ];
  if (via === 'function' && plan.oneByOne < room) {
    lines.push(
      `              that is with ${functionsPerSlot} attached at a time, which then leave together; ` +
        `one at a time, each takes a slot: ${plan.oneByOne}`,
    );
  }
  if (via === 'function' && !plan.growsWhileRunning)
    lines.push('  note        slots are fixed once the VM runs');
  return [...lines, `  make it     ${command}`].join('\n');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : noun.endsWith('ch') ? 'es' : 's'}`;
}
