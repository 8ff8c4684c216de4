/** What is loaded when a project is opened or made. */
export { NewProject } from "./projects-new.tsx";
export { ProjectPage } from "./projects-page.tsx";
