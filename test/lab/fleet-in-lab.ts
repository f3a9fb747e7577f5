// The fleet on the lab's hosts: the controller on `controller`, an agent on each host that has one, and the operator's command line, which
// speaks to the controller from a place of its own on the cable.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { builtPrograms } from '../fleet/built.ts';
import { writeShellFiles } from '../fleet/shell.ts';
import { eventually } from './eventually.ts';
import type { Host } from './host.ts';
import type { Lab } from './lab.ts';
import { WIRE } from './layout.ts';
import { CONTROLLER_PORT } from './machines.ts';
import { AGENT_DIR, CONTROLLER_DIR } from './units.ts';

/** The controller answers, the operator is logged in, and every host that has an agent is online. */
export async function bringFleet(lab: Lab, say: (line: string) => void): Promise<void> {
  const { node, cli } = builtPrograms();
  writeShellFiles(lab.layout, ['/usr/bin/nsenter', `--net=${lab.layout.namespaceFile(WIRE)}`, '--', node, cli]);
  await logIn(lab);
  say('The controller answers.');
  const hosts = lab.hosts.filter(({ machine }) => machine.agent);
  await Promise.all(hosts.map(async (host) => await enrol(lab, host)));
  await untilOnline(
    lab,
    hosts.map(({ name }) => name),
  );
  say(`${hosts.map(({ name }) => name).join(', ')} are online.`);
}

async function logIn(lab: Lab): Promise<void> {
  const controller = lab.host('controller');
  const [ca, token] = ['ca.pem', 'admin-token'].map((name) => controller.file(join(CONTROLLER_DIR, name)));
  const address = `${controller.address}:${CONTROLLER_PORT}`;
  await eventually('the controller answers', async () => {
    if (!existsSync(token!)) return 'it has written no token yet';
    const { code, stderr } = await lab.holdfast(['login', address, '--ca', ca!, '--token-file', token!]);
    return code === 0 ? undefined : stderr.trim();
  });
}

async function enrol(lab: Lab, host: Host): Promise<void> {
  if (!existsSync(host.file(join(AGENT_DIR, 'identity.json')))) {
    const { node, agent } = builtPrograms();
    const { hosts } = await lab.json<{ hosts: { name: string }[] }>('host', 'ls');
    const known = hosts.some(({ name }) => name === host.name);
    const { token } = await lab.json<{ token: string }>('host', 'add', host.name, ...(known ? ['--replace'] : []));
    const { code, stdout, stderr } = await host.exec([node, agent, 'enrol', '-'], token);
    if (code !== 0) throw new Error(`${host.name} could not be enrolled: ${(stderr || stdout).trim()}`);
  }
  await host.unit('agent', 'start');
}

async function untilOnline(lab: Lab, wanted: readonly string[]): Promise<void> {
  await eventually('every host is online', async () => {
    const { hosts } = await lab.json<{ hosts: { name: string; state: string }[] }>('host', 'ls');
    const away = wanted.filter((name) => !hosts.some((host) => host.name === name && host.state === 'online'));
    return away.length === 0 ? undefined : `${away.join(', ')} are not`;
  });
}
