// What a person types for each type of step, on which machine, how they see that it worked, and what to do when it did not.
//
// Hazard: a command that is nearly right, at three in the morning. So whatever a plan says goes in quoted for a shell, with its variables
// put in, and what only the moment knows stands in capitals.
//
// Pure. Tested in runbook.test.ts.

import { isIPv6 } from 'node:net';
import { hostOf } from './graph.ts';
import type { Plan } from './plan.ts';
import { durationText, type Step } from './step-types.ts';

/** Who is which, as names. */
export interface RunbookHosts {
  readonly primary: string;
  readonly standby: string;
}

export interface Instruction {
  /** What is done, in a sentence or two. */
  readonly text: string;
  /** What to type, and where: a host's name, or a phrase that begins with a capital. */
  readonly blocks: readonly { readonly where: string; readonly lines: readonly string[] }[];
  /** How to see that it worked; empty: by itself. */
  readonly check: string;
  readonly onFailure: string;
}

/** Where the command line is logged in to a controller. */
export const DESK = 'Where you are logged in with holdfast';
/** "On web-1"; a phrase as it is. */
export function placeText(where: string): string {
  return /^[A-Z]/.test(where) ? where : `On ${where}`;
}

/** Stands for a time that only the day knows. */
export const POINT = 'RECOVERY_POINT';

export function instructionOf(step: Step, plan: Plan, hosts: RunbookHosts): Instruction {
  const context = { plan, hosts, host: hostOf(step, hosts) };
  const drawn = instructions[step.type] as (
    step: Step,
    context: Context,
  ) => Partial<Instruction> & { readonly text: string };
  return { blocks: [], check: '', onFailure: defaultFailure(step), ...drawn(step, context) };
}

interface Context {
  readonly plan: Plan;
  readonly hosts: RunbookHosts;
  readonly host: string;
}

type Draw<T extends Step['type']> = (
  step: Extract<Step, { type: T }>,
  context: Context,
) => Partial<Instruction> & { readonly text: string };

const instructions: { readonly [T in Step['type']]: Draw<T> } = {
  approval: (step, { plan }) => ({
    text: `Get the approval of ${listed(step.roles ?? plan.approvals?.roles ?? ['whoever answers for the application'])}. Write down who gave it, and when.`,
  }),
  manual: (step) => ({ text: step.text }),
  wait: (step) => ({ text: `Wait ${durationText(step.for)}.` }),
  snapshot: (step, { host }) => ({
    text: 'Take a last snapshot of what the primary holds, so that nothing is lost.',
    blocks: [{ where: DESK, lines: step.sources.map((source) => command('holdfast', 'backup', `${host}/${source}`)) }],
    check: 'Each ends with "done".',
    onFailure: `If it can't be taken, decide: go on with the newest snapshot there is (holdfast snapshot ls ${host}/${step.sources[0] ?? ''}), and lose what is newer, or stop here.`,
  }),
  fence: fenceInstruction,
  rebuild: (step, { host, hosts }) => ({
    text: `Make ${host} a server like ${hosts.primary}: ${listed(parts(step))}. Leave its network, machine-id and Holdfast's agent alone.`,
    blocks: [
      {
        where: DESK,
        lines: [
          command('holdfast', 'blueprint', 'diff', `${host}/BLUEPRINT`, `${hosts.primary}/BLUEPRINT`),
          '# BLUEPRINT: the source of that type, see: holdfast source ls',
        ],
      },
      ...(step.packages
        ? [{ where: host, lines: ['apt-get install PACKAGES   # those that the second has and the first has not'] }]
        : []),
    ],
    check: 'The differences that are left are meant to be there.',
  }),
  'restore.files': (step, context) => restoreInstruction(step, context, ['--delta', '--into-non-empty', '--setuid']),
  'restore.image': (step, context) => restoreInstruction(step, context, []),
  'restore.command': (step, context) => restoreInstruction(step, context, []),
  'restore.sqlite': (step, context) => restoreInstruction(step, context, []),
  'restore.redis': (step, context) => restoreInstruction(step, context, []),
  'restore.postgres': (step, context) => restoreInstruction(step, context, engineOptions(step)),
  'restore.mariadb': (step, context) => restoreInstruction(step, context, engineOptions(step)),
  'service.start': (step, { host, plan }) => ({
    text: `Start ${listed(step.units)}, in this order.`,
    blocks: [{ where: host, lines: step.units.map((unit) => serviceCommand(plan, 'start', unit)) }],
    check: step.units.map((unit) => serviceCommand(plan, 'status', unit)).join('; '),
    onFailure: 'Look at its log (journalctl -u UNIT -n 50). Do not move traffic before it runs.',
  }),
  'service.stop': (step, { host, plan }) => ({
    text: `Stop ${listed(step.units)}, in this order.`,
    blocks: [{ where: host, lines: step.units.map((unit) => serviceCommand(plan, 'stop', unit)) }],
    check: 'None of them runs any more.',
  }),
  command: (step, { host, plan }) => ({
    text:
      step.probe === undefined ? 'Run:' : 'Run this, unless it was done already: then the first command ends with 0.',
    blocks: [
      {
        where: host,
        lines: [
          ...secretLines(plan),
          ...(step.probe === undefined ? [] : [`${shell(step.probe)} && echo done already`]),
          shell(step.run),
        ],
      },
    ],
    check: step.probe === undefined ? 'It ends with 0 (echo $?).' : `${shell(step.probe)} ends with 0.`,
    onFailure:
      step.undo === undefined
        ? 'Read what it says. Run it a second time only if you know that it may be.'
        : `Read what it says. To take it back: ${shell(step.undo)}`,
  }),
  'check.http': (step, { host, plan }) => ({
    text: `It answers${step.contains === undefined ? '' : `, and the answer has ${JSON.stringify(step.contains)} in it`}${lasting(step.for)}.`,
    blocks: [
      {
        where: step.from === 'witnesses' ? listed(plan.detect.witnesses?.hosts ?? ['A machine elsewhere']) : host,
        lines: [
          `curl -fsS --max-time 10 ${quote(step.url)}${step.contains === undefined ? '' : ` | grep -F ${quote(step.contains)}`}`,
        ],
      },
    ],
    onFailure: 'Do not go on before it answers: look at the logs of what serves it, and at the steps before.',
  }),
  'check.tcp': (step, { host }) => ({
    text: `Something accepts connections${lasting(step.for)}.`,
    blocks: [{ where: host, lines: [command('nc', '-z', '-w', '5', ...step.address.split(/:(?=\d+$)/))] }],
    onFailure: 'Do not go on before it does.',
  }),
  'check.sql': (step, { host, plan }) => ({
    text: `The database answers${step.maxAge === undefined ? '' : `, and what it answers is a time of the last ${durationText(step.maxAge)} before ${POINT}`}.`,
    blocks: [{ where: host, lines: [sqlCommand(step, plan)] }],
    onFailure: 'The database is older than it should be, or not whole: restore another point before you go on.',
  }),
  'check.command': (step, { host }) => ({
    text: 'This ends with 0:',
    blocks: [{ where: host, lines: [shell(step.run)] }],
    onFailure: 'Do not go on before it does.',
  }),
  traffic: trafficInstruction,
  notify: (step, { plan }) => ({
    text: `Tell ${listed(step.to)}: ${plan.metadata.name}, ${step.template}.`,
    blocks: [{ where: 'By telephone or mail', lines: step.to.flatMap((name) => contactLines(plan, name)) }],
    onFailure: 'Tell them another way.',
  }),
};

function fenceInstruction(_step: Step, { plan, hosts, host }: Context): ReturnType<Draw<'fence'>> {
  const addresses = plan.steps
    .flatMap((each) => (each.type === 'traffic' ? each.via : []))
    .flatMap((via) => ('address' in via ? [via.address] : []));
  const units = plan.steps.flatMap((each) => (each.type === 'service.start' ? each.units : []));
  const off = [
    ...units.toReversed().map((unit) => serviceCommand(plan, 'stop', unit)),
    ...addresses.map(({ ip, dev }) => command('ip', 'address', 'del', ip, 'dev', dev)),
  ];
  return {
    text: `Make sure that ${host} serves no more, and never will by itself. If it still takes orders while ${hosts.standby} does, both lose.`,
    blocks: [
      ...(off.length === 0 ? [] : [{ where: `${host}, if you can still log in`, lines: off }]),
      ...(plan.fence?.script === undefined
        ? []
        : [{ where: hosts.standby, lines: [`HOLDFAST_PRIMARY=${quote(host)} ${quote(plan.fence.script)}`] }]),
      { where: `${host}, otherwise`, lines: ['# switch it off: power supply, hypervisor, or the provider’s console'] },
    ],
    check: `Nobody reaches ${host}: no ping, no answer on the addresses of the application. Best: you see it switched off.`,
    onFailure: 'STOP. Do not start anything on the standby before you are sure.',
  };
}

function restoreInstruction(
  step: Extract<Step, { type: `restore.${string}` }>,
  { hosts, host }: Context,
  options: readonly string[],
): ReturnType<Draw<'restore.files'>> {
  const source = `${hosts.primary}/${step.source}`;
  const to = `${host}:${step.target ?? 'DIRECTORY'}`;
  const at = step.to === '${recoveryPoint}' ? POINT : step.to;
  const settings = Object.entries(step.options).flatMap(([name, value]) => ['--option', `${name}=${value}`]);
  const lines = [
    ...(step.target === undefined
      ? [`# DIRECTORY: where it is on ${hosts.primary}, see: ${command('holdfast', 'source', 'show', source)}`]
      : []),
    command('holdfast', 'restore', source, '--to', to, '--at', at, ...options, ...settings),
  ];
  return {
    text: `Restore ${source} to ${host}.`,
    blocks: [{ where: DESK, lines }],
    check: `It ends with "done". What can be reached: ${command('holdfast', 'source', 'show', source)}`,
    onFailure: `Take an older point: ${command('holdfast', 'snapshot', 'ls', source)}. Use the same one for every source.`,
  };
}

function engineOptions(step: { readonly port?: number | undefined; readonly unit?: string | undefined }): string[] {
  if (step.unit !== undefined) return [];
  return ['--start', ...(step.port === undefined ? [] : ['--port', String(step.port)])];
}

/** As nsupdate wants HOST, HOST:PORT, an IPv6 address, or one in brackets with a port. */
function serverWords(server: string): string {
  if (isIPv6(server)) return server;
  return server.replace(/^\[([^\]]*)\]/, '$1').replace(/:(\d+)$/, ' $1');
}

function trafficInstruction(
  step: Extract<Step, { type: 'traffic' }>,
  { host, hosts }: Context,
): ReturnType<Draw<'traffic'>> {
  const blocks = step.via.map((via) => {
    if ('address' in via) {
      const { ip, dev } = via.address;
      return {
        where: host,
        lines: [
          ...(ip.includes(':')
            ? [`${command('sysctl', `net.ipv6.conf.${dev}.ndisc_notify=1`)}   # lets the kernel tell the neighbours`]
            : []),
          command('ip', 'address', 'add', ip, 'dev', dev),
          ...(ip.includes(':')
            ? []
            : [`${command('arping', '-U', '-c', '3', '-I', dev, ip.replace(/\/\d+$/, ''))}   # tells the neighbours`]),
        ],
      };
    }
    if ('webhook' in via)
      return { where: 'Any machine', lines: [command('curl', '-fsS', '-X', 'POST', via.webhook.url)] };
    const { name, ttl, value, server, zone, key } = via.dns;
    const type = (value ?? '').includes(':') ? 'AAAA' : 'A';
    return {
      where: 'Any machine with nsupdate',
      lines: [
        `nsupdate${key === undefined ? '' : ` -k KEYFILE   # the secret ${key}`} <<END`,
        ...(server === undefined ? [] : [`server ${serverWords(server)}`]),
        ...(zone === undefined ? [] : [`zone ${zone}`]),
        `update delete ${name} ${type}`,
        `update add ${name} ${ttl} ${type} ${value ?? 'ADDRESS'}`,
        'send',
        'END',
      ],
    };
  });
  return {
    text: `Send the traffic to ${host}. From here on the customers are there.`,
    blocks,
    check: `From another machine: the address answers, and it is ${host} that answers (look at its access log).`,
    onFailure: `Make sure that ${hosts.primary} does not have the address any more, and try again.`,
  };
}

function sqlCommand(step: Extract<Step, { type: 'check.sql' }>, plan: Plan): string {
  const restore = plan.steps.find(
    (each) => each.type.startsWith('restore.') && 'source' in each && each.source === step.source,
  );
  if (restore?.type === 'restore.mariadb') return command('mariadb', '-N', '-e', step.query);
  return command('psql', '-AtX', '-c', step.query);
}

/** Programs of a plan find its secrets in their environment. */
function secretLines(plan: Plan): string[] {
  const names = plan.secrets.map((name) => `HOLDFAST_SECRET_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`);
  return names.map((name) => `read -rs ${name} && export ${name}   # once, from where you keep it`);
}

/** As the plan declares it, or with systemd. */
export function serviceCommand(plan: Plan, action: 'start' | 'stop' | 'status', unit: string): string {
  const own = Object.hasOwn(plan.services, unit) ? plan.services[unit] : undefined;
  return own === undefined ? command('systemctl', action, unit) : shell(own[action]);
}

function contactLines(plan: Plan, name: string): string[] {
  const contact = Object.hasOwn(plan.contacts, name) ? plan.contacts[name] : undefined;
  if (contact === undefined) return [`# ${name}: as the controller's settings say (notify.contacts)`];
  return [...contact.email, ...(contact.webhook === undefined ? [] : [contact.webhook.url])].map(
    (address) => `# ${name}: ${address}`,
  );
}

function parts(step: Extract<Step, { type: 'rebuild' }>): string[] {
  const wanted = (['packages', 'users', 'units', 'cron', 'sysctl', 'firewall'] as const).filter((part) => step[part]);
  return wanted.length === 0 ? ['nothing but what the blueprints differ in'] : wanted;
}

function lasting(ms: number | undefined): string {
  return ms === undefined ? '' : `, for ${durationText(ms)} on end`;
}

function defaultFailure(step: Step): string {
  return step.critical ? 'Do not go on before this is mended.' : 'Write it down, and go on.';
}

/** "a", "a and b", "a, b and c". */
export function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

function shell(words: readonly string[]): string {
  return command(...words);
}

export function command(...words: readonly string[]): string {
  return words.map(quote).join(' ');
}

/** One word of a POSIX shell. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
