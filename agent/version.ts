/** The product's version, from package.json: read once, when the agent starts. */
import packageJson from '../package.json' with { type: 'json' }

export const version: string = packageJson.version
