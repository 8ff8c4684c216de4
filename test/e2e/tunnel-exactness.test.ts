import { byRunner } from "../helpers/placement.ts";
import { backends } from "./proxy-exactness.test.ts";

/** Every case of the edge alone, once more with a runner's tunnel in between. */
backends.placement = byRunner();
