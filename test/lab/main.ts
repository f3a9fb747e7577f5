// `npm run -s lab -- up DIR`: the lab from a shell.

import { resolve } from 'node:path';
import { EVERYBODY, Lab } from './lab.ts';
import { labUp } from './shop-lab.ts';
import { quoted } from '../fleet/shell.ts';

const USAGE = `Usage:
  lab up DIR                     boot the hosts, start the fleet and the shop, apply the plan; goes on with what is there
  lab down DIR                   end every process and remove every namespace; the hosts' disks stay
  lab status DIR                 which hosts run
  lab exec DIR HOST -- CMD…      in a host's namespaces, as root
  lab kill DIR HOST              as if its power failed
  lab start DIR HOST             boot it again
  lab pause | resume DIR HOST    SIGSTOP, SIGCONT to everything in it
  lab cut | heal DIR HOST HOST [--one-way]
                                 nothing passes between the two (--one-way: from the first to the second); "${EVERYBODY}": every other host
  lab delay DIR HOST MS          each way; 0 ends it
  lab drop DIR HOST PERCENT      of what it sends and is sent; 0 ends it
`;

/** npm runs scripts in the package's directory; the user's own is in INIT_CWD. */
function absolute(dir: string): string {
  const cwd = process.env['npm_lifecycle_event'] === 'lab' ? process.env['INIT_CWD'] : undefined;
  return resolve(cwd ?? process.cwd(), dir);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

type Verb = (dir: string, words: readonly string[], oneWay: boolean) => Promise<number | void>;

const verbs: Readonly<Record<string, { readonly words: number; readonly act: Verb }>> = {
  up: {
    words: 0,
    act: async (dir) => {
      const lab = await labUp(dir, say);
      say(`Ready. In your shell:  . ${quoted(lab.layout.envFile)}`);
    },
  },
  down: {
    words: 0,
    act: async (dir) => {
      const removed = await Lab.open(dir).down();
      say(removed.length === 0 ? 'Nothing ran.' : `Removed ${removed.join(', ')}.`);
    },
  },
  status: {
    words: 0,
    act: async (dir) => {
      const { hosts } = Lab.open(dir);
      for (const { name, address, running } of hosts) {
        process.stdout.write(`${name}\t${address}\t${running ? 'runs' : 'does not run'}\n`);
      }
      return await Promise.resolve(hosts.every(({ running }) => running) ? 0 : 1);
    },
  },
  kill: { words: 1, act: async (dir, [host]) => await Lab.open(dir).host(host!).kill() },
  start: { words: 1, act: async (dir, [host]) => await Lab.open(dir).host(host!).start() },
  pause: { words: 1, act: async (dir, [host]) => await Lab.open(dir).host(host!).pause() },
  resume: { words: 1, act: async (dir, [host]) => await Promise.resolve(Lab.open(dir).host(host!).resume()) },
  cut: { words: 2, act: async (dir, [from, to], oneWay) => await Lab.open(dir).cut(from!, to!, { oneWay }) },
  heal: { words: 2, act: async (dir, [from, to], oneWay) => await Lab.open(dir).heal(from!, to!, { oneWay }) },
  delay: { words: 2, act: async (dir, [host, ms]) => await Lab.open(dir).delay(host!, Number(ms)) },
  drop: { words: 2, act: async (dir, [host, percent]) => await Lab.open(dir).drop(host!, Number(percent)) },
};

async function main(argv: readonly string[]): Promise<number> {
  const [name = '', dir, ...rest] = argv;
  if (name === 'exec' && dir !== undefined) {
    const [host, ...given] = rest;
    const command = given[0] === '--' ? given.slice(1) : given;
    if (host !== undefined && command.length > 0) return await Lab.open(absolute(dir)).host(host).attach(command);
  }
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  const words = rest.filter((word) => word !== '--one-way');
  if (verb === undefined || dir === undefined || words.length !== verb.words) {
    say(USAGE.trimEnd());
    return 2;
  }
  return (await verb.act(absolute(dir), words, words.length < rest.length)) ?? 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(`lab: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
