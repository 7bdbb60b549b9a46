"""Everyday sentences that no training text is made from: what models are judged by."""

SENTENCES = tuple(
    line.strip()
    for line in """
The train to the city was late again.
I left my umbrella on the bus.
Can you tell me the way to the station?
She bought a new coat for the winter.
We had dinner at my mother's house.
The children are playing in the garden.
He forgot to lock the front door.
Please turn off the light before you leave.
My brother works in a hospital.
It was too cold to go swimming.
What would you like to drink?
They have lived here for ten years.
The dog ran after the ball.
I need to buy some bread and milk.
Do you know where my glasses are?
The phone rang in the middle of the night.
She reads a book every evening.
The old man sat down under a tree.
There is somebody at the door.
How long have you been waiting?
The coffee is still hot.
We should leave before it gets dark.
He wrote a long letter to his sister.
I have never been to Paris.
The window was open all night.
My father is older than yours.
Let me help you with that bag.
The shop closes at six in the evening.
Nobody knew what to say.
It is going to rain this afternoon.
Where did you put the car keys?
She has three brothers and one sister.
The water in the lake is very clear.
I think we are on the wrong road.
Thank you for all your help.
He was so tired that he fell asleep.
The doctor told me to stay in bed.
We can walk to the park from here.
Did you hear the news this morning?
The teacher asked a very hard question.
I would like a table for two.
The cat is sleeping on the kitchen chair.
Her birthday is in the first week of May.
You should see a doctor about your back.
The last bus leaves in five minutes.
They were talking about the weather.
I cannot find my other shoe.
He opened the box and looked inside.
The music was much too loud.
Are there any more questions?
We watched the ships in the harbor.
It took us an hour to get home.
She wants to learn how to drive.
The soup needs a little more salt.
Why is everyone so quiet today?
My uncle has a small farm near the river.
Come and see me when you are ready.
The meeting was over before lunch.
I will call you back tomorrow.
The snow covered the roof of the house.
He lost his job last month.
This is the best cake in town.
Do you want to go for a walk?
The baby cried until she came back.
""".strip().splitlines()
)
