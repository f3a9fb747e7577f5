// `npm run -s fleet -- up DIR --hosts web-1,web-2`: the disposable fleet from a shell.

import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { fleetDown, fleetKill, fleetStart, fleetStatus, fleetUp } from './fleet.ts';
import { layoutOf } from './layout.ts';
import { quoted } from './shell.ts';

const USAGE = `Usage:
  fleet up DIR [--hosts web-1,web-2]   start what does not run; returns when every host is online
  fleet down DIR                       end every process of the fleet; the state stays
  fleet status DIR                     what runs
  fleet kill DIR HOST|controller       SIGKILL to one process
  fleet start DIR HOST|controller      start it again
`;

/** npm runs scripts in the package's directory; the user's own is in INIT_CWD. */
function absolute(dir: string): string {
  const cwd = process.env['npm_lifecycle_event'] === 'fleet' ? process.env['INIT_CWD'] : undefined;
  return resolve(cwd ?? process.cwd(), dir);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function main(argv: readonly string[]): Promise<number> {
  const { positionals, values } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { hosts: { type: 'string', default: '' } },
  });
  const [verb, dirText, name] = positionals;
  if (verb === undefined || dirText === undefined || positionals.length > 3) {
    say(USAGE.trimEnd());
    return 2;
  }
  const dir = absolute(dirText);
  if (verb === 'up' && name === undefined) {
    await fleetUp({ dir, hosts: values.hosts.split(',').filter((host) => host !== ''), say });
    say(`Ready. In your shell:  . ${quoted(layoutOf(dir).envFile)}`);
  } else if (verb === 'down' && name === undefined) {
    const ended = await fleetDown(dir);
    say(ended.length === 0 ? 'Nothing ran.' : `Ended ${ended.join(', ')}.`);
  } else if (verb === 'status' && name === undefined) {
    const processes = await fleetStatus(dir);
    for (const { name: member, pid } of processes) process.stdout.write(`${member}\t${pid ?? 'not running'}\n`);
    return processes.every(({ pid }) => pid !== undefined) ? 0 : 1;
  } else if (verb === 'kill' && name !== undefined) await fleetKill(dir, name);
  else if (verb === 'start' && name !== undefined) await fleetStart(dir, name);
  else {
    say(USAGE.trimEnd());
    return 2;
  }
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(`fleet: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
