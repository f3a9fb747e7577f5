// What a witness says about a primary: does the application answer, and is its agent alive?
//
// Hazard: a process that is paused still accepts connections. So only an answer counts, of the application or of the agent, within the time.
//
// Tested in peers.test.ts.

import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import type { ProbeAnswer, ProbeOrder } from '@holdfast/shared/failover/messages';
import type { PeerLinks } from '../../link/peer-links.ts';

/** Never throws: what can't be asked was not answered. */
export async function askForWitness(
  own: string,
  application: string,
  order: ProbeOrder,
  peers: Pick<PeerLinks, 'ping'>,
): Promise<ProbeAnswer> {
  const { round, host, url, peerAddresses: addresses, withinMs } = order;
  const [answered, sawJustNow] = await Promise.all([
    answersRequest(url, withinMs),
    peers.ping({ hostId: host, addresses, withinMs }, application, withinMs).catch(() => false),
  ]);
  return { kind: 'probe-answer', witness: own, round, answered, sawJustNow };
}

/** Whether a GET is answered with 2xx or 3xx. Certificates are not checked: whoever answers for the application is there. */
function answersRequest(text: string, withinMs: number): Promise<boolean> {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return Promise.resolve(false);
  return new Promise((resolve) => {
    const options = { agent: false, signal: AbortSignal.timeout(withinMs), rejectUnauthorized: false } as const;
    const request = (url.protocol === 'https:' ? httpsGet : httpGet)(url, options, (response) => {
      const { statusCode = 0 } = response;
      resolve(statusCode >= 200 && statusCode < 400);
      response.destroy();
    });
    request.on('error', () => resolve(false));
  });
}
