/** The executable of a switch. */
import { runProcess } from '../process-main.js';
import { SwitchProcess } from './switch-process.js';

runProcess((tools) => new SwitchProcess(tools));
